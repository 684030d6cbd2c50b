"""Runs with discrete codes, replaced places and a codebook: stopping and going on changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask.testing import mmask

SMALL = [
    "data.decode.image.size=32", "tokenize.image.image_size=32", "data.batch_size=8", "train.val_samples=16",
    "schedule.warmup_steps=2",
]
CODES = [
    "data.decode.image.second=16", "networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2",
    "mask.min_area=2",
]
RECIPES = {
    "cae-vit-tiny": [
        *CODES, "mask.count=8", "networks.regressor.width=48", "networks.regressor.heads=2",
        "objectives.ids.head.heads=2", "networks.encoder.drop_path=0.2",
    ],
    "beit-vit-tiny": [*CODES, "mask.count=6"],
    "simmim-vit-tiny": ["networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2"],
    "simmim-swin-t": [
        "networks.encoder.depths=[1,1,1,1]", "networks.encoder.width=16", "networks.encoder.heads=[1,1,2,2]",
        "networks.encoder.window=2", "data.decode.image.size=64", "tokenize.image.image_size=64",
    ],
    "vq-tiny": ["networks.tokenizer.codes=64", "networks.tokenizer.width=16", "objectives.pixels.head.width=16"],
}
KEPT = ("step", "loss", "lr", "grad_norm", "stamp", "val_loss", "ids", "align", "pixels", "commitment", "perplexity")


def train(name: str, out: Path, *more: str) -> list[dict[str, Any]]:
    flags = ["--steps", "6", "--save-every", "3", "--log-every", "1", "--workers", "0", "--device", "cpu"]
    assert mmask("train", "--recipe", name, "--out", out, *flags, *more, *SMALL, *RECIPES[name]) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in KEPT if key in row} for row in rows]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(name, tmp_path, capsys):
    whole = train(name, tmp_path / "whole")
    assert "no picture" not in capsys.readouterr().out
    train(name, tmp_path / "parts", "--stop-after", "3")
    parts = train(name, tmp_path / "parts")
    assert [row["step"] for row in parts] == [1, 2, 3, 4, 5, 6]
    assert parts == whole
    assert len(list((tmp_path / "whole" / "figures").glob("*.png"))) >= 2


def test_a_tokenizer_is_trained_and_then_used(tmp_path):
    train("vq-tiny", tmp_path / "vq")
    sizes = [f"networks.tokenizer.{option}" for option in ("codes=64", "width=16", f"weights={tmp_path / 'vq'}")]
    rows = train("beit-vit-tiny", tmp_path / "beit", *sizes)
    assert rows[0]["ids"] == pytest.approx(4.16, abs=0.3)  # log(64)


def test_a_tokenizer_without_weights_stops_the_run_with_the_way_out(tmp_path, capsys):
    name = "beit-vit-tiny"
    flags = ["train", "--recipe", name, "--out", str(tmp_path / "run"), "--steps", "1", "--workers", "0"]
    none = ["networks.tokenizer.use=dall-e", "networks.tokenizer.weights=", "networks.tokenizer.width=8",
            "data.decode.image.second=32", "tokenize.image.size=8"]
    small = [item for item in (*SMALL, *RECIPES[name]) if "second" not in item]
    assert mmask(*flags, *small, *none) == 3
    said = capsys.readouterr().err
    assert "no weights" in said
    assert "encoder.pkl" in said
    assert "Traceback" not in said
