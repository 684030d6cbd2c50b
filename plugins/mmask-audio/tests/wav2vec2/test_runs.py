"""Runs on the sample recordings: stopping and going on changes nothing, the temperature included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmask.testing import mmask

SMALL = [
    "tokenize.audio.channels=16", "networks.encoder.width=32", "networks.encoder.depth=3", "networks.encoder.heads=2",
    "networks.encoder.positions=8", "networks.encoder.position_groups=4", "networks.encoder.dropout=0.1",
    "networks.encoder.layer_drop=0.3", "objectives.contrast.target.dropout=0.1", "objectives.contrast.target.entries=8",
    "objectives.contrast.target.temperature=[2.0,0.5,0.8]", "data.batch_size=8", "train.val_samples=8",
    "schedule.warmup_steps=2", "data.decode.audio.seconds=0.6",
]
KEPT = (
    "step", "loss", "lr", "grad_norm", "stamp", "val_loss", "contrast", "contrast_diversity", "penalty", "temperature",
    "code_perplexity", "prob_perplexity",
)


def train(out: Path, *more: str) -> list[dict[str, Any]]:
    flags = ["--steps", "6", "--save-every", "3", "--log-every", "1", "--workers", "0", "--device", "cpu"]
    assert mmask("train", "--recipe", "wav2vec2-tiny", "--out", out, *flags, *more, *SMALL) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in KEPT if key in row} for row in rows]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", "--stop-after", "3")
    parts = train(tmp_path / "parts")
    assert [row["step"] for row in parts] == [1, 2, 3, 4, 5, 6]
    assert parts == whole
    assert [row["temperature"] for row in whole] == pytest.approx([max(2 * 0.8**step, 0.5) for step in range(6)])
    assert all(0 < row["code_perplexity"] <= 16 for row in whole)
