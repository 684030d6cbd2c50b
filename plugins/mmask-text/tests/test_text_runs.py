"""Each family trains on the sample texts, and stopping and going on changes nothing; the loss falls."""

from __future__ import annotations

import json
from pathlib import Path

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
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-10:]) / 10 < 0.85 * losses[0]
