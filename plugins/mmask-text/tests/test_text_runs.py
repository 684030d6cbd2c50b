"""Each family trains on the sample texts; stopping, going on and several processes change nothing; the loss falls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask import load_run
from mmask.testing import mmask

SIZES = ["width=16", "depth=2", "heads=2", "hidden=24"]
FLAGS = [
    "--workers", "0", "--device", "cpu", "train.val_samples=8", "data.batch_size=8", "data.decode.text.max_length=24",
    "schedule.steps=4", "schedule.warmup_steps=1", "train.save_every=2", "train.log_every=1", "optim.lr=1e-2",
    "tokenize.text.size=none", *(f"networks.encoder.{size}" for size in SIZES),
]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(recipe: str, out: Path, *more: str) -> None:
    assert mmask("train", "--recipe", recipe, "--out", out, *FLAGS, *more) == 0


@pytest.mark.parametrize("recipe", ["bert-tiny", "bert-base-nsp", "roberta-base", "mosaicbert-base", "modernbert-base"])
def test_going_on_is_bit_identical(recipe, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe, whole)
    train(recipe, parts, "--stop-after", "2")
    assert mmask("train", "--resume", parts) == 0
    one, two = load_run(whole).state_dict(), load_run(parts).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_loss_falls(tmp_path):
    """In sixty steps of a tiny network, well below where a uniform guess starts."""
    train("bert-tiny", tmp_path / "run", "schedule.steps=60", "train.save_every=60", "schedule.warmup_steps=5")
    losses = [row["loss"] for row in rows(tmp_path / "run") if "loss" in row]
    assert sum(losses[-10:]) / 10 < 0.85 * losses[0]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("recipe", ["bert-tiny", "electra-tiny"])
def test_packs_on_two_processes_give_the_losses_of_one(recipe, tmp_path):
    """The same global batch of packs, parted over two ranks that hide different numbers of places."""
    one, two = tmp_path / "one", tmp_path / "two"
    networks = ("encoder", "generator") if recipe.startswith("electra") else ("encoder",)
    still = [f"networks.{network}.{key}=0" for network in networks for key in ("dropout", "attention_dropout")]
    packs = ["data.pack.length=24", "data.pack.window=32", "data.streams=4", *still]
    train(recipe, one, *packs)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mmask",
         "train", "--recipe", recipe, "--out", str(two), *FLAGS, *packs],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True, timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = rows(two), rows(one)
    assert len(theirs) == 4
    for name in ("stamp", "samples", "tokens"):
        assert [row[name] for row in ours] == [row[name] for row in theirs]
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in ours] == pytest.approx([row[name] for row in theirs], rel=1e-4)
    assert ours[-1]["val_loss"] == pytest.approx(theirs[-1]["val_loss"], rel=2e-4)
