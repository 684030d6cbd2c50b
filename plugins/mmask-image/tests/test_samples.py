"""The sample shards: what they promise about themselves."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from itertools import pairwise
from pathlib import Path

from PIL import Image

from mmask_image.dataset import emoji

WHO = ("man", "woman", "person", "men", "women", "people")
FOLDER = Path(emoji()["val"][0]).parent


def stored(split: str) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for url in emoji()[split]:
        with tarfile.open(url) as tar:
            for member in tar:
                key, part = member.name.split(".", 1)
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[part] = file.read()
    return found


def test_every_file_has_the_recorded_hash_and_all_stay_under_five_megabytes() -> None:
    lines = [line.split() for line in (FOLDER / "SHA256").read_text().splitlines() if not line.startswith("#")]
    recorded = {name: sha for sha, name in lines}
    assert {path.name for path in FOLDER.glob("*.tar")} == {name for name in recorded if name.endswith(".tar")}
    for name, sha in recorded.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sha
    assert sum((FOLDER / name).stat().st_size for name in recorded) < 5_000_000


def test_the_licences_are_there() -> None:
    text = (FOLDER / "LICENSES").read_text()
    for holder in ("Microsoft Corporation", "LobeHub", "Miles Johnson", "Unicode, Inc."):
        assert holder in text


def test_every_sample_is_a_picture_with_a_name_and_a_label() -> None:
    classes = json.loads((FOLDER / "classes.json").read_text())
    for split, count in (("train", 1471), ("val", 381)):
        samples = stored(split)
        assert len(samples) == count
        for parts in samples.values():
            assert set(parts) == {"webp", "json"}
            assert Image.open(io.BytesIO(parts["webp"])).size == (64, 64)
            about = json.loads(parts["json"])
            assert about["name"]
            assert classes[about["label"]] == about["group"]


def test_no_concept_is_on_both_sides() -> None:
    def concepts(split: str) -> set[str]:
        names = (json.loads(parts["json"])["name"] for parts in stored(split).values())
        return {" ".join(word for word in name.replace(":", "").split() if word not in WHO) for name in names}

    train, val = concepts("train"), concepts("val")
    assert not train & val
    assert len(val) > 200


def test_the_stored_order_is_not_sorted_by_class() -> None:
    labels = [json.loads(parts["json"])["label"] for parts in stored("train").values()]
    share = [labels.count(label) / len(labels) for label in set(labels)]
    same = sum(a == b for a, b in pairwise(labels)) / (len(labels) - 1)
    assert abs(same - sum(p * p for p in share)) < 0.05
