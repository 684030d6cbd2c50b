"""The sample shards: what they promise about themselves."""

from __future__ import annotations

import hashlib
import json
import tarfile
from functools import cache
from itertools import pairwise
from pathlib import Path

from mmask_video.container import Video
from mmask_video.dataset import moving_emoji

WHO = ("man", "woman", "person", "men", "women", "people", "boy", "girl", "child", "older", "old", "adult")
FOLDER = Path(moving_emoji()["val"][0]).parent


@cache
def stored(split: str) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for url in moving_emoji()[split]:
        with tarfile.open(url) as tar:
            for member in tar:
                key, part = member.name.split(".", 1)
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[part] = file.read()
    return found


def about(split: str) -> list[dict]:
    return [json.loads(parts["json"]) for parts in stored(split).values()]


def test_every_file_has_the_recorded_hash_and_all_stay_under_five_megabytes() -> None:
    lines = [line.split() for line in (FOLDER / "SHA256").read_text().splitlines() if not line.startswith("#")]
    recorded = {name: sha for sha, name in lines}
    assert {path.name for path in FOLDER.glob("*.tar")} == recorded.keys()
    for name, sha in recorded.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sha
    assert sum((FOLDER / name).stat().st_size for name in recorded) < 5_000_000


def test_the_licences_are_there_and_count_right() -> None:
    text = (FOLDER / "LICENSES").read_text()
    for holder in ("Microsoft Corporation", "LobeHub", "Miles Johnson", "Unicode, Inc."):
        assert holder in text
    assert f"{len(stored('train')) + len(stored('val'))} clips" in text


def test_every_sample_is_a_moving_clip_with_a_caption_and_a_label() -> None:
    groups: dict[int, str] = {}
    for split, count in (("train", 558), ("val", 165)):
        assert len(stored(split)) == count
        for told in about(split):
            assert told["caption"]
            assert groups.setdefault(told["label"], told["group"]) == told["group"]
    assert len(set(groups.values())) == len(groups)
    for parts in list(stored("val").values())[::20]:
        assert set(parts) == {"mp4", "json"}
        with Video(parts["mp4"]) as video:
            assert (len(video.survey), video.survey.height, video.survey.width) == (24, 64, 64)
            first, middle = video.frames([0, 12])
            assert (first != middle).any()


def test_no_concept_is_on_both_sides() -> None:
    def concepts(split: str) -> set[str]:
        names = (told["name"].replace(":", "").split() for told in about(split))
        return {" ".join(word for word in name if word not in WHO) for name in names}

    assert not concepts("train") & concepts("val")
    assert len(concepts("val")) > 100


def test_the_stored_order_is_not_sorted_by_group() -> None:
    labels = [told["label"] for told in about("train")]
    share = [labels.count(label) / len(labels) for label in set(labels)]
    same = sum(a == b for a, b in pairwise(labels)) / (len(labels) - 1)
    assert abs(same - sum(p * p for p in share)) < 0.06
