"""Runs whose weights are cut over two ranks: the same losses, and checkpoints that any number of ranks reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mmask as library
from mmask.cli.main import run as mmask
from mmask.train.checkpoint import torn

TINY = [
    "networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2",
    "objectives.pixels.head.width=32", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=2",
    "data.decode.image.size=32", "tokenize.image.image_size=32", "data.batch_size=8", "train.val_samples=9",
    "schedule.warmup_steps=2", "train.ema=0.8", "optim.clip=0.5", "optim.layer_decay=0.7", "optim.accumulate=2",
    "train.precision=fp64",
]
STEPS = 6
FLAGS = ["--steps", str(STEPS), "--save-every", "3", "--log-every", "1", "--workers", "0", "--device", "cpu"]
KEPT = ("step", "loss", "lr", "grad_norm", "stamp", "val_loss", "val_loss_ema")


def arguments(out: Path, *more: str) -> list[str]:
    return ["train", "--recipe", "mae-vit-tiny", "--out", str(out), *FLAGS, *TINY, *more]


def train(out: Path, *more: str) -> None:
    assert mmask(arguments(out, *more)) == 0


def train_on_two(out: Path, *more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mmask",
         *arguments(out, "--parallel", "fsdp2", *more)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rows(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in KEPT if name in row} for row in found]


def near(ours: Path, theirs: Path) -> None:
    """The same samples and masks, and losses, gradient norms and averages to the tolerance of sums in another order."""
    for one, other in zip(rows(ours), rows(theirs), strict=True):
        assert one.keys() == other.keys()
        assert one.pop("stamp") == other.pop("stamp")
        assert one == pytest.approx(other, rel=1e-6)
    mine, wanted = (library.load_run(out).state_dict() for out in (ours, theirs))
    assert mine.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.allclose(mine[name], value, atol=1e-6), name


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    train(out)
    return out


def test_two_ranks_with_half_the_weights_each_go_on_as_one_process(plain: Path, tmp_path: Path) -> None:
    """Pictures and validation losses too, though nine held-out samples are not the same number for both ranks."""
    out = tmp_path / "run"
    train_on_two(out, "--stop-after", "3", "train.checkpoint_activations=true")
    step = out / "checkpoints" / "step-00000003"
    assert sorted(path.name for path in step.iterdir()) == [
        "ema.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]
    train(out)
    near(out, plain)
    assert sorted(path.name for path in (out / "figures").iterdir()) == [
        path.name for path in sorted((plain / "figures").iterdir())
    ]


def test_one_process_goes_on_as_two_ranks_that_write_their_parts(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, "--stop-after", "2")
    train_on_two(out, "train.checkpoints=sharded", "--stop-after", "4")
    step = out / "checkpoints" / "step-00000004"
    parts = sorted(path.name for path in (step / "optimizer").iterdir())
    assert [name.partition("-model")[0] for name in parts] == ["shard-00001", "shard-00002"]
    assert not list(step.rglob(".metadata"))  # torch's own, which would have to be unpickled
    copy = Path(shutil.copytree(step, tmp_path / "copy"))
    assert not torn(copy)
    part = copy / "model" / parts[0]
    part.write_bytes(part.read_bytes()[:-1])
    assert part.name in torn(copy)
    train_on_two(out, "--stop-after", "5", "train.checkpoints=sharded")
    assert library.load_run(out).state_dict().keys() == library.load_run(plain).state_dict().keys()
    train(out)
    near(out, plain)
