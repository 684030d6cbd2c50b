"""Checkpoints are whole or not there, say what is wrong with a torn one, and never lose the one before."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmask.errors import CheckpointError
from mmask.train import checkpoint as module
from mmask.train.checkpoint import Checkpoint, list_steps, load, newest, save, torn


def made(step: int, size: int = 64) -> Checkpoint:
    weight = torch.arange(float(size)).reshape(4, -1) + step
    return Checkpoint(step, {"model": {"a": weight, "b": weight.t()}, "optimizer": {}}, {"stamp": "00", "x": [1]})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path, made(3))
    found = load(tmp_path / "step-00000003")
    assert found.step == 3
    assert found.state["x"] == [1]
    assert torch.equal(found.tensors["model"]["b"], made(3).tensors["model"]["b"])
    assert found.tensors["optimizer"] == {}


def test_only_the_newest_are_kept_and_nothing_is_left_aside(tmp_path: Path) -> None:
    (tmp_path / ".step-00000001.99").mkdir()
    for step in (1, 2, 3):
        save(tmp_path, made(step), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_tied_tensors_are_stored_once_and_come_back_under_both_names(tmp_path: Path) -> None:
    weight = torch.randn(32, 32)
    path = save(tmp_path, Checkpoint(1, {"model": {"embed": weight, "head": weight}}))
    assert (path / "model.safetensors").stat().st_size < 2 * weight.numel() * 4
    found = load(path).tensors["model"]
    assert torch.equal(found["head"], weight)
    assert torch.equal(found["embed"], weight)


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "manifest"])
def test_a_torn_checkpoint_is_noticed_and_the_one_before_is_used(tmp_path: Path, harm: str) -> None:
    save(tmp_path, made(1))
    path = save(tmp_path, made(2))
    file = path / "model.safetensors"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif harm == "remove":
        file.unlink()
    else:
        (path / "manifest.json").write_text("{")
    lines: list[str] = []
    assert newest(tmp_path, tell=lines.append) == tmp_path / "step-00000001"
    assert len(lines) == 1
    assert "step-00000002 is torn" in lines[0]
    with pytest.raises(CheckpointError, match="torn"):
        load(path)


def test_all_torn_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    path = save(tmp_path, made(1))
    (path / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="every checkpoint"):
        newest(tmp_path)


def test_a_torn_checkpoint_is_written_anew(tmp_path: Path) -> None:
    path = save(tmp_path, made(2))
    (path / "model.safetensors").write_bytes(b"")
    save(tmp_path, made(2))
    assert not torn(path)


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, made(1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_put_tensors", full)
    with pytest.raises(CheckpointError, match=r"the disk is full.*step-00000001\) is intact"):
        save(tmp_path, made(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert not torn(tmp_path / "step-00000001")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skipped where it may not be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(done.stderr.decode())
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_clear_error(small_disk: Path) -> None:
    save(small_disk, made(1, 1 << 13))
    with pytest.raises(CheckpointError, match="the disk is full") as found:
        save(small_disk, made(2, 1 << 18))
    assert "same command again" in found.value.hint
    assert [p.name for p in list_steps(small_disk)] == ["step-00000001"]
    assert not torn(small_disk / "step-00000001")
    assert not list(small_disk.glob(".step-*"))
