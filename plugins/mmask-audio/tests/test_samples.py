"""The sample shards, and the plugin as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from mmask.api import open_source
from mmask.testing import check_claims
from mmask.testing.kit import check_light
from mmask_audio.dataset import sounds, speech
from mmask_audio.decode import AudioDecoder
from mmask_audio.transcript import TranscriptDecoder

SETS = {"speech": speech, "sounds": sounds}


def stored(name, split):
    return [sample for url in SETS[name]()[split] for sample in open_source(url, "s")]


def test_every_file_has_the_recorded_hash_and_all_stay_under_five_megabytes():
    size = 0
    for make in SETS.values():
        folder = Path(make()["val"][0]).parent
        lines = [line.split() for line in (folder / "SHA256").read_text().splitlines() if not line.startswith("#")]
        assert {name for _, name in lines} >= {path.name for path in folder.glob("*.tar")} | {"LICENSE"}
        for sha, name in lines:
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha
            size += (folder / name).stat().st_size
    assert size < 5_000_000


@pytest.mark.parametrize(("name", "counts", "holder"), [
    ("speech", (435, 85), "Allison Smith"), ("sounds", (75, 15), "CC0 1.0"),
])
def test_every_sample_is_sound_with_a_label(name, counts, holder):
    folder = Path(SETS[name]()["val"][0]).parent
    assert holder in (folder / "LICENSE").read_text()
    classes = json.loads((folder / "classes.json").read_text())
    decode = AudioDecoder(min_seconds=0.25, max_seconds=10.1)
    for split, count in zip(("train", "val"), counts, strict=True):
        samples = stored(name, split)
        assert len(samples) == count
        kinds = Counter()
        for sample in samples[::8]:
            audio = decode(sample, None)["audio"]
            assert float(audio.abs().max()) > 0.01
        for sample in samples:
            about = json.loads(sample.parts["json"])
            assert classes[about["label"]] == about["kind"]
            kinds[about["kind"]] += 1
        assert split == "val" or set(kinds) == set(classes)


def test_no_text_and_no_sound_is_on_both_sides():
    def said(split):
        texts = (TranscriptDecoder()(sample, None)["transcript"] for sample in stored("speech", split))
        return {re.sub(r"\W+", " ", text.lower()).strip() for text in texts}

    assert not said("train") & said("val")
    assert "" not in said("train")
    names = [{json.loads(one.parts["json"])["name"] for one in stored("sounds", split)} for split in ("train", "val")]
    assert not names[0] & names[1]


def test_claims_of_this_part_fit_their_kinds():
    check_light("mmask_audio.plugin:mmask_components")
    assert check_claims("audio", ("decoder", "packer", "dataset")) >= 8
