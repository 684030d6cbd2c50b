"""Evaluation of a ViT: layers, drop path, mixing, pooling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask.testing import mmask, subject

TINY = [
    "networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2",
    "objectives.pixels.head.width=32", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=2",
    "data.decode.image.size=32", "tokenize.image.image_size=32", "data.batch_size=8", "train.val_samples=16",
    "schedule.warmup_steps=1", "train.device=cpu", "data.workers=0",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "vit"
    assert mmask("train", "--recipe", "mae-vit-tiny", "--out", out, "--steps", "2", *TINY) == 0
    yield out
    torch.set_num_threads(before)


def tuned(run: Path, out: Path, *options: str) -> dict[str, Any]:
    common = ["eval", "finetune", run, "--device", "cpu", "--out", out, "--limit", "45", "epochs=2"]
    assert mmask(*common, "batch=16", "lr=0.01", *options) == 0
    found: dict[str, Any] = json.loads(out.read_text())["results"][0]
    return found["seeds"][0]


def test_layers_of_a_vit_are_known_and_regularisers_change_the_course(run: Path, tmp_path: Path) -> None:
    plain = tuned(run, tmp_path / "a.json")
    assert plain["about"]["layer_decay"] == 0.75
    losses = {plain["about"]["last_loss"]}
    for option in ("mixup=0.8", "cutmix=1.0", "smoothing=0.1", "drop_path=0.5", "layer_decay=1.0"):
        losses.add(tuned(run, tmp_path / "b.json", option)["about"]["last_loss"])
    assert len(losses) == 6


def test_the_pool_of_a_network_is_kept_where_it_leaves_pooling_out_in_training(run: Path) -> None:
    judged = subject(run)
    module = judged.network(pool="cls")
    batch = next(judged.stored(torch.arange(3), batch=3))
    torch.testing.assert_close(module.train()(batch), module.eval()(batch))
    mean = judged.network(pool="mean").eval()(batch)
    assert not torch.allclose(module(batch), mean)
    assert judged.width == 32 and mean.requires_grad
