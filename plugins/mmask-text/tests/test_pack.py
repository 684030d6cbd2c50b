"""Packing files of documents, and the contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmask.api import Batch, RecipeError, SampleError, open_source
from mmask.testing import mmask
from mmask_text.contact import DocumentSheet
from mmask_text.decode import TextDecoder
from mmask_text.pack import DocumentPacker


def stored(folder: Path, pattern: str = "*") -> dict[str, dict[str, bytes]]:
    return {sample.id.key: dict(sample.parts) for sample in open_source(str(folder / f"{pattern}.tar"))}


def packed(*words: object) -> int:
    return mmask("data", "pack", *map(str, words))


def test_a_folder_of_texts_is_a_document_a_file_with_its_class(tmp_path: Path) -> None:
    for name, text in (("a/x.txt", "One\n\ndocument"), ("b/x.txt", "Another"), ("b/y.md", "# Third")):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert packed(tmp_path / "texts", "--out", tmp_path / "out") == 0
    found = stored(tmp_path / "out")
    assert found["a/x"] == {"txt": b"One\n\ndocument", "cls": b"0"} and set(found) == {"a/x", "b/x", "b/y"}
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["a", "b"]


@pytest.mark.parametrize(("documents", "want"), [
    ("blank", [b"One\nline two\n", b"Second\n", b"Third"]), ("line", [b"One\n", b"line two\n", b"Second\n", b"Third"]),
])
def test_one_file_may_hold_many(tmp_path: Path, documents: str, want: list[bytes]) -> None:
    (tmp_path / "book.txt").write_text("\n\nOne\nline two\n\n \nSecond\n\nThird")
    assert packed(tmp_path / "book.txt", "--out", tmp_path / "out", "--documents", documents) == 0
    found = stored(tmp_path / "out")
    assert [found[key]["txt"] for key in sorted(found)] == want


def test_jsonl_keeps_every_column_splits_and_keys(tmp_path: Path) -> None:
    lines = [
        {"text": "One.", "label": "b", "lang": "en", "n": 3}, {"text": "Zwei.", "label": "a", "split": "test"},
        {"text": " "}, {"body": "no"},
    ]
    (tmp_path / "d.jsonl").write_text("\n".join([*map(json.dumps, lines), "broken", ""]))
    assert packed(tmp_path / "d.jsonl", "--out", tmp_path / "out") == 0
    train, test = stored(tmp_path / "out", "train-*"), stored(tmp_path / "out", "test-*")
    (only,) = train.values()
    assert json.loads(only["json"]) == {"text": "One.", "lang": "en", "n": 3} and only["cls"] == b"1"
    assert [json.loads(parts["json"])["text"] for parts in test.values()] == ["Zwei."]
    failed = [json.loads(line)["reason"] for line in (tmp_path / "out" / "pack-failed.jsonl").read_text().splitlines()]
    for what in ("empty", "no text in 'text'", "not a JSON object"):
        assert sum(what in reason for reason in failed) == 1


def test_tables_with_and_without_header_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\ufeffid,text,label\n7,"He said ""hi"",\nthere",pos\n8,plain,neg\n', "utf-8")
    assert packed(tmp_path / "t.csv", "--out", tmp_path / "csv", "--key", "id") == 0
    found = stored(tmp_path / "csv")
    assert json.loads(found["7"]["json"]) == {"text": 'He said "hi",\nthere'} and found["8"]["cls"] == b"0"
    (tmp_path / "g.tsv").write_text('src\t1\tHe "said so.\nsrc\t0\tBye.\n')
    assert packed(tmp_path / "g.tsv", "--out", tmp_path / "tsv", "--columns", "source,label,text") == 0
    texts = {json.loads(parts["json"])["text"]: parts["cls"] for parts in stored(tmp_path / "tsv").values()}
    assert texts == {'He "said so.': b"1", "Bye.": b"0"}
    named = ["--columns", "source,label,text", "--label", ""]
    assert packed(tmp_path / "g.tsv", "--out", tmp_path / "scores", *named) == 0
    assert {json.loads(parts["json"])["label"] for parts in stored(tmp_path / "scores").values()} == {"0", "1"}


def test_other_encodings_are_named_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(SampleError, match=r"byte 0xe9 at 3 is no utf-8\n.*latin-1"):
        DocumentPacker()(path, {})
    assert DocumentPacker(encoding="latin-1")(path, {}) == {"txt": "caf\u00e9".encode()}
    with pytest.raises(SampleError, match="4 characters"):
        DocumentPacker(encoding="latin-1", min_chars=5)(path, {})


def test_a_manifest_of_texts_is_still_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("One.")
    (tmp_path / "m.csv").write_text("path,key,lang\none.txt,first,en\n")
    assert packed(tmp_path / "m.csv", "--out", tmp_path / "out") == 0
    assert stored(tmp_path / "out") == {"first": {"txt": b"One.", "json": b'{"lang": "en"}'}}


@pytest.mark.parametrize("options", [{"documents": "page"}, {"encoding": "utf-99"}, {"encoding": "utf-16"}])
def test_unfit_options(options: dict[str, str]) -> None:
    with pytest.raises(RecipeError):
        DocumentPacker(**options)  # type: ignore[arg-type]


def test_what_was_packed_trains(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "The whale."}) + "\n")
    packed(tmp_path / "d.jsonl", "--out", tmp_path / "out")
    (sample,) = open_source(str(tmp_path / "out" / "train-000000.tar"))
    decode = TextDecoder()
    assert decode.vocabulary.decode(decode(sample, None)["text"]) == "the whale."


def test_a_sheet_shows_every_text_and_says_what_cannot_be_read(tmp_path: Path) -> None:
    long = ("word " * 400).encode()
    fields = {"txt": [b"short", long, b"\xff", None], "json": [None, None, None, b'{"text": "a", "year": 1851}']}
    names = ("a", "b", "c", "d")
    sheet = DocumentSheet(lines=4, width=200)(None, Batch(fields, np.arange(4, dtype=np.uint64), np.zeros(4), names))
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    half, middle = sheet.shape[0] // 2, sheet.shape[1] // 2
    ink = [(part < 128).any(2).sum() for part in (sheet[:half, :middle], sheet[:half, middle:])]
    assert ink[1] > 2 * ink[0] > 0
    red = (sheet[half:, :middle].astype(int) @ [1, -1, -1]) > 100
    assert red.any()
