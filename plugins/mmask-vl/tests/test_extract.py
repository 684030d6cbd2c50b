"""Pictures in shards -> regions in shards: by a grid, and by a detector with weights from a file."""

from __future__ import annotations

import io
import json
import tarfile
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from mmask.api import CheckpointError, UsageError
from mmask.testing import mmask
from mmask_vl.describe import PALETTE, GridDescriber
from mmask_vl.detect import Detector
from mmask_vl.extract import note_failed

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"


def shard(path, *, broken=False):
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            picture = Image.new("RGB", (40, 30), (255, 255, 255))
            picture.paste((220, 35, 45), (0, 0, 20, 15))
            to = io.BytesIO()
            picture.save(to, "png")
            data = b"no picture" if broken and number == 1 else to.getvalue()
            for name, value in ((f"{number}.png", data), (f"{number}.json", json.dumps({"caption": "red"}).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))


def read(path):
    with tarfile.open(path) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


def test_cells_that_show_something_are_regions_and_their_colour_is_their_class():
    picture = np.full((40, 40, 3), 255, np.uint8)
    picture[:20, :20] = PALETTE["red"]
    made = GridDescriber(side=2, least=1)(picture)
    np.testing.assert_allclose(made["boxes"], [[0, 0, 0.5, 0.5]])
    assert list(PALETTE)[int(made["classes"][0].argmax())] == "red" and made["confidence"][0] > 0.9
    assert made["features"].shape == (1, 56) and np.abs(made["features"]).max() <= 1
    assert len(GridDescriber(side=2, least=3)(picture)["boxes"]) == 3


def test_the_command_keeps_captions_and_keys_and_leaves_out_what_cannot_be_read(tmp_path, capsys):
    shard(tmp_path / "a.tar", broken=True)
    assert mmask("data", "regions", tmp_path / "a.tar", "--out", tmp_path / "out", "--grid", 2) == 0
    found = read(tmp_path / "out" / "a.tar")
    assert sorted(found) == ["0.json", "0.npz", "2.json", "2.npz"]
    assert json.loads(found["0.json"])["caption"] == "red"
    failed = (tmp_path / "out" / "regions-failed.jsonl").read_text()
    assert len(failed.splitlines()) == 1 and "cannot be read" in failed
    before = (tmp_path / "out" / "a.tar").stat().st_mtime_ns
    assert mmask("data", "regions", tmp_path / "a.tar", "--out", tmp_path / "out", "--grid", 2) == 0
    assert (tmp_path / "out" / "a.tar").stat().st_mtime_ns == before
    assert "already" in capsys.readouterr().out
    assert mmask("data", "regions", tmp_path / "a.tar", "--out", tmp_path / "b", "--detector", NAME) == 2


def test_shards_of_one_folder_are_described_alike_and_none_is_empty(tmp_path, capsys):
    shard(tmp_path / "a.tar")
    out = tmp_path / "out"
    assert mmask("data", "regions", tmp_path / "a.tar", "--out", out, "--grid", 2) == 0
    capsys.readouterr()
    assert mmask("data", "regions", tmp_path / "a.tar", "--out", out, "--grid", 3) != 0
    assert "grid 2, not 3" in capsys.readouterr().err
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("0.json"), io.BytesIO())
    for _ in range(2):  # the second time, too, nothing was done
        assert mmask("data", "regions", tmp_path / "b.tar", "--out", tmp_path / "b") != 0
        assert not list((tmp_path / "b").glob("*.tar*"))


def test_a_detector_reads_its_weights_from_a_file_and_describes_boxes(tmp_path):
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model(NAME, weights=None, weights_backbone=None, num_classes=4)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    detector = Detector(NAME, tmp_path / "weights.pth", most=3, least=3)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    picture.flags.writeable = False  # as Pillow's are
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = detector(picture)
    count = len(made["boxes"])
    assert (detector.dim, detector.classes) == (1024, 4)
    assert 1 <= count <= 3 and made["features"].shape == (count, 1024) and made["classes"].shape == (count, 4)
    np.testing.assert_allclose(made["classes"].astype(np.float32).sum(1), 1, atol=5e-3)
    assert made["boxes"].min() >= 0 and made["boxes"].max() <= 1
    assert (np.diff(made["confidence"].astype(np.float32)) <= 0).all()
    with pytest.raises(UsageError, match="no detector"):
        Detector("yolo", tmp_path / "weights.pth")
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="two-stage"):
        Detector(NAME, tmp_path / "other.pth")


def test_earlier_failures_stay_on_record(tmp_path):
    path = tmp_path / "failed.jsonl"
    note_failed(path, [("a", "torn"), ("b", "empty")])
    note_failed(path, [("b", "still empty"), ("c", "torn")])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["sample"], row["reason"]) for row in rows] == [("a", "torn"), ("b", "still empty"), ("c", "torn")]
