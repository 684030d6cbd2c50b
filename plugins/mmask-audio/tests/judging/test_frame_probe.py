"""A probe of frames: where they lie, and tones that it tells apart."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

from mmask.api import Sample, SampleError, SampleId
from mmask.testing import mmask
from mmask_audio.frame_probe import Spans, _at_frames

TONES = {"low": 300.0, "mid": 900.0, "high": 1900.0}


def shard(path, count, seed):
    draw = np.random.default_rng(seed)
    time = np.arange(2400) / 16_000
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            names = list(draw.choice(list(TONES), 5))
            wave = np.concatenate([0.5 * np.sin(2 * np.pi * TONES[one] * time) for one in names])
            file = io.BytesIO()
            soundfile.write(file, wave.astype(np.float32), 16_000, format="WAV", subtype="FLOAT")
            spans = [{"start": i * 0.15, "end": i * 0.15 + 0.12, "label": one} for i, one in enumerate(names)]
            told = json.dumps({"spans": spans, "seconds": 0.75}).encode()
            for part, data in (("wav", file.getvalue()), ("spans.json", told)):
                info = tarfile.TarInfo(f"{number:04d}.{part}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_frames_lie_in_the_middle_of_their_share():
    spans = [(0.0, 0.5, "a"), (0.6, 1.0, "b")]
    assert _at_frames(spans, 1.0, 10) == ([0, 1, 2, 3, 4, 6, 7, 8, 9], ["a"] * 5 + ["b"] * 4)
    assert _at_frames(spans, 2.0, 4) == ([0, 1], ["a", "b"])
    assert _at_frames([], 1.0, 3) == ([], [])


def test_spans_are_read_and_faults_are_named():
    def sample(data):
        return Sample(SampleId("s", "t", "k"), {"spans.json": data})

    bare = Spans()(sample(b'[{"start": 0, "end": 0.5, "label": 3}]'), None)
    assert bare["spans"] == ([(0.0, 0.5, "3")], 0.5)
    for data in (b"nonsense", b'[{"start": 0}]', b"[]"):
        with pytest.raises(SampleError, match=r"spans\.json"):
            Spans()(sample(data), None)
    with pytest.raises(SampleError, match="labels=PART"):
        Spans(part="other")(sample(b"[]"), None)


FILTERS = ["networks.encoder.width=32", "networks.encoder.depth=2", "networks.encoder.heads=2"]
SMALL = {
    "wav2vec2-tiny": [
        *FILTERS, "networks.encoder.positions=5", "networks.encoder.position_groups=4", "tokenize.audio.channels=24",
        "tokenize.audio.norm=layer", "data.decode.audio.seconds=0.2", "data.decode.audio.min_seconds=0.05",
    ],
    "tera-tiny": [*FILTERS, "data.decode.audio.frames=20", "data.decode.audio.min_frames=16"],
    # 96 frames of 10 ms are read, 76 are real: with the reference's padding these are places like any other
    "ssast-tiny-patch": [
        *FILTERS, "data.decode.audio.frames=96", "tokenize.audio.frames=96", "tokenize.audio.patch=[16,4]",
        *(f"mask.{plan}.{one}" for plan in ("discriminate", "generate") for one in ("count=none", "ratio=0.5")),
    ],
}


@pytest.mark.parametrize("recipe", SMALL)
def test_tones_are_told_apart_at_every_frame(recipe, tmp_path):
    fit, val = shard(tmp_path / "fit.tar", 20, 0), shard(tmp_path / "val.tar", 6, 1)
    run, out = tmp_path / "run", tmp_path / "frames.json"
    flags = ["--device", "cpu", "--workers", "0"]
    assert mmask(
        "train", "--recipe", recipe, "--data", fit, "--val", val, "--out", run, "--steps", "1", "--batch-size", "4",
        *flags, *SMALL[recipe], "train.val_samples=4", "schedule.warmup_steps=1",
    ) == 0
    where = ["--data", fit, "--val", val, "--out", str(out)]
    assert mmask("eval", "frames", run, *where, *flags, "epochs=15", "lrs=[0.01]", "batch=128") == 0
    told = json.loads(out.read_text())["results"][0]["seeds"][0]
    assert told["accuracy"] > 0.85 and told["balanced"] > 0.8, told
    about = told["about"]
    assert about["classes"] == ["high", "low", "mid"] and len(about["layers"]) == 3
    real = {"wav2vec2-tiny": 37, "tera-tiny": 76, "ssast-tiny-patch": 19}[recipe]  # of a whole recording
    assert 0.75 * real - 2 < about["frames"] / 20 < 0.85 * real + 2  # 80 % lie in a stretch
