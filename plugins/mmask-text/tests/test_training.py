"""Training vocabularies: the same texts, the same bytes; what was asked for is what comes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmask.api import RecipeError, open_source
from mmask.testing import mmask
from mmask_text.dataset import novel
from mmask_text.training import Training, fertility
from mmask_text.vocabulary import Vocabulary, open_vocabulary

SHARD = novel()["val"][0]
TEXTS = [json.loads(sample.parts["json"])["text"] for sample in open_source(SHARD)]


def trained(folder: Path, kind: str, size: int, **options: object) -> Vocabulary:
    wanted = Training(kind=kind, size=size, **options)  # type: ignore[arg-type]
    path = folder / f"{kind}{wanted.suffix}"
    path.write_bytes(wanted(lambda: TEXTS))
    return open_vocabulary(path)


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 600), ("bpe", 600), ("unigram", 600), ("bytes", 261)])
def test_size_special_tokens_and_words_are_right(kind: str, size: int, tmp_path: Path) -> None:
    made = trained(tmp_path, kind, size)
    assert made.size == size
    assert [made.token(id) for id in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (made.pad_id, made.unk_id, made.cls_id, made.sep_id, made.mask_id) == (0, 1, 2, 3, 4)
    told = fertility(made, TEXTS)
    assert 1 < told["fertility"] < 7 and told["unknown"] < 0.01
    ids, _ = made.encode(TEXTS[0])
    plain = "".join(made.decode(ids).lower().split())
    assert plain[:40] == "".join(TEXTS[0].lower().split())[:40]


def test_larger_vocabularies_cut_less_finely(tmp_path: Path) -> None:
    for kind in ("wordpiece", "bpe", "unigram"):
        small, large = (fertility(trained(tmp_path, kind, size), TEXTS)["fertility"] for size in (400, 1200))
        assert large < small


def test_options_of_the_trainer(tmp_path: Path) -> None:
    special = ("<pad>", "[UNK]", "<s>", "</s>", "<mask>")
    made = trained(tmp_path, "bpe", 500, special=special, lower=False)
    assert [made.token(id) for id in range(5)] == list(special) and made.cls_id == 2 and made.mask_id == 4
    assert made.decode(made.encode("Call me Ishmael")[0]) == "Call me Ishmael"
    few = trained(tmp_path, "wordpiece", 300, alphabet=10)
    assert fertility(few, TEXTS)["unknown"] > 0.05


@pytest.mark.parametrize("options", [
    {"kind": "word"}, {"size": 5}, {"special": ("[UNK]", "[UNK]")}, {"special": ("[PAD]",)},
])
def test_unfit_options(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Training(**options)  # type: ignore[arg-type]


def test_a_size_below_the_alphabet_is_named() -> None:
    for kind, what in (("wordpiece", "below the"), ("bpe", "must exceed 256 bytes"), ("unigram", "could not train")):
        with pytest.raises(RecipeError, match=what):
            Training(kind=kind, size=20)(lambda: TEXTS)  # type: ignore[arg-type]


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import json, hashlib; from mmask.api import open_source; from mmask_text.training import Training\n"
        f"texts = [json.loads(s.parts['json'])['text'] for s in open_source({SHARD!r})]\n"
        "for kind in ('wordpiece', 'bpe', 'unigram'):\n"
        "    print(hashlib.sha256(Training(kind=kind, size=700)(lambda: texts)).hexdigest())\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    here = [
        hashlib.sha256(Training(kind=kind, size=700)(lambda: TEXTS)).hexdigest()  # type: ignore[arg-type]
        for kind in ("wordpiece", "bpe", "unigram")
    ]
    assert here == there


def test_the_command_trains_reports_and_says_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "v.json"

    def train(*words: str | Path) -> int:
        return mmask("data", "tokenizer", "train", SHARD, *words)

    assert train("--size", "500", "--out", path, "--report") == 0
    told = capsys.readouterr().out
    assert "wordpiece of 500 ids from 22 documents" in told and "tokens a word" in told
    assert mmask("data", "tokenizer", "report", SHARD, "--vocabulary", path) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[-1] == next(line for line in told.splitlines() if "fertility" in line)
    assert train("--size", "300", "--out", path, "--samples", "5") == 0
    assert "from 5 documents" in capsys.readouterr().out
    assert train("--kind", "unigram", "--out", path) != 0
    assert "must end in .model" in capsys.readouterr().err
    assert train("--field", "txet", "--out", path) != 0
    assert "none of 22 samples" in capsys.readouterr().err
    assert mmask("data", "--help") == 0 and "tokenizer" in capsys.readouterr().out
    assert mmask("--help") == 0 and "train a vocabulary" not in capsys.readouterr().out
