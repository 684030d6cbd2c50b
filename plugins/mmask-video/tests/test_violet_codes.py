"""VIOLET's codes come from a tokenizer that mmask trained, or from a local file of DALL-E's encoder."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.torch import save_file

from mmask.api import load_run
from mmask.testing import component, mmask

SMALL = [
    "networks.encoder.depth=1", "networks.encoder.swin.depths=[1,1,1]", "train.val_samples=4", "preview=none",
    "data.streams=4",
]
QUICK = ["--batch-size", 4, "--workers", 0, "--device", "cpu"]


def learn(folder, *overrides) -> list[dict]:
    assert mmask("train", "--recipe", "violet-tiny", "--out", folder, "--steps", 2, *QUICK, *SMALL, *overrides) == 0
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_from_a_tokenizer_that_was_trained_here(tmp_path):
    made = tmp_path / "vq"
    assert mmask("train", "--recipe", "vq-tiny", "--out", made, "--steps", 2, *QUICK, "networks.tokenizer.codes=32",
                 "train.val_samples=4", "preview=none", "data.streams=4") == 0
    rows = learn(tmp_path / "run", f"networks.tokenizer.weights={made}", "networks.tokenizer.codes=32")
    assert all(np.isfinite(row["cells"]) for row in rows)
    whole, tokenizer = load_run(tmp_path / "run"), load_run(made).network("tokenizer")
    theirs = whole.network("tokenizer").state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in tokenizer.state_dict().items())
    assert whole.objectives["cells"].head.layers[-1].out_features == 32


def test_from_a_local_file_of_the_dall_e_encoder(tmp_path):
    small = {"width": 8, "blocks": 1, "vocabulary": 24}
    tensors = component("encoder", "dall-e", **small).state_dict()
    save_file({name: value for name, value in tensors.items() if name != "ready"}, tmp_path / "encoder.safetensors")
    rows = learn(
        tmp_path / "run", "networks.tokenizer.use=dall-e", "data.decode.video.second=32",
        f"networks.tokenizer.weights={tmp_path / 'encoder.safetensors'}",
        *(f"networks.tokenizer.{name}={value}" for name, value in small.items()),
    )
    assert all(np.isfinite(row["cells"]) for row in rows)
    assert load_run(tmp_path / "run").objectives["cells"].head.layers[-1].out_features == 24
