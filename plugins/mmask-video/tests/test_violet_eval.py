"""What is asked of VIOLET after pretraining: captions and clips, questions about clips, groups told by their names."""

from __future__ import annotations

import json
import tarfile

import pytest

from mmask.api import open_source
from mmask.testing import mmask
from mmask_video.dataset import moving_emoji

URL = moving_emoji()["val"][0]
SMALL = [
    "networks.encoder.swin.width=16", "networks.encoder.swin.depths=[1,1,1]", "networks.encoder.swin.heads=[1,2,2]",
    "networks.encoder.width=64", "networks.encoder.depth=1", "networks.encoder.heads=2", "preview=none",
]
CPU = ["--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("violet") / "run"
    assert mmask(
        "train", "--recipe", "violet-tiny", "--steps", 1, "--out", folder, "--batch-size", 4, "--workers", 0, *CPU,
        "train.val_samples=4", "data.streams=4", *SMALL,
    ) == 0
    return folder


def summary(path):
    (result,) = json.loads(path.read_text())["results"]
    return result, {name: value["mean"] for name, value in result["summary"].items()}


def test_captions_find_clips_and_clips_captions(run, tmp_path):
    out = tmp_path / "found.json"
    asked = ["retrieval", run, "--data", URL, "--limit", 12]
    assert mmask("eval", *asked, *CPU, "--out", out, "gallery=2", "shown=2") == 0
    result, numbers = summary(out)
    assert result["seeds"][0]["about"]["compared"] == {"text": 12, "video": 12}
    assert {f"{side}_{what}" for side in ("text", "video") for what in ("r1", "r5", "r10", "median")} <= numbers.keys()
    assert len(list(tmp_path.glob("found-*.png"))) == 2


def test_questions_about_clips_are_fine_tuned_from_json_lines(run, tmp_path):
    source = open_source(URL)
    samples = [source.read(row) for row in range(16)]
    rows = [
        {"clip": one.id.key, "question": ("does it move ?", "is it a stone ?")[turn], "answer": ("yes", "no")[turn]}
        for one in samples for turn in (0, 1)
    ]
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert mmask("data", "questions", file, "--pictures", URL, "--key", "clip", "--out", tmp_path / "asked") == 0
    with tarfile.open(next((tmp_path / "asked").glob("*.tar"))) as tar:
        assert sorted(tar.getnames()[:2]) == ["00000000.json", "00000000.mp4"]
    out = tmp_path / "found.json"
    assert mmask(
        "eval", "finetune", run, "--data", tmp_path / "asked", "--label", "answer", *CPU, "--out", out,
        "data.decode.text.field=question", "epochs=12", "warmup=1", "batch=8", "lr=3e-3", "layer_decay=1.0",
    ) == 0
    result, numbers = summary(out)
    assert result["classes"] == ["no", "yes"]
    assert numbers["top1"] > 0.9  # the question tells the answer: words reach the head


def test_groups_are_told_by_their_names(run, tmp_path):
    out = tmp_path / "found.json"
    assert mmask("eval", "zeroshot", run, "--data", URL, "--label", "group", "--limit", 12, *CPU, "--out", out) == 0
    assert 0 <= next(iter(summary(out)[1].values())) <= 1
