"""transformers' ModernBertForMaskedLM, number for number, in float64.

Every dimension and option comes from the file's metadata: any pattern of layers and any window.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmask.api import Batch, MaskedModel, MaskPlan, NetworkSection, ViewSection, rotary_tables, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_text.recipes.modernbert import modernbert_base
from mmask_text.weights.hf import HfTextWeights, config_options
from mmask_text.weights.names import MODERNBERT, places

FILES = golden_files("modernbert_mlm", Path(__file__).parent)
BY_FILE = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
WAYS = pytest.mark.parametrize("fast", [True, False], ids=["packed", "plain"])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, build: Any, words: Any, **options: Any) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    config = dict(file.config)
    made = config_options({"model_type": "modernbert", **config})
    recipe = modernbert_base()
    recipe.tokenize["text"] = use("ids", vocabulary=words(config["vocab_size"], config.get("pad_token_id", 0)))
    recipe.networks["encoder"] = NetworkSection.model_validate({"use": "text", **made.encoder, **options})
    recipe.mask, recipe.views = use("random"), {"masked": ViewSection()}
    recipe.objectives["words"].head = use("mlm", **made.head, fast=options.get("fast", True))
    model = build(recipe).double().eval()
    assert not list(HfTextWeights().load(model, file.weights))
    return model


def run(file: Golden, model: MaskedModel) -> SimpleNamespace:
    seen, labels, valid = (file.inputs[name] for name in ("input_ids", "labels", "attention_mask"))
    assert torch.equal(valid.bool(), torch.arange(seen.shape[1]) < valid.sum(1)[:, None])
    fields = {"text": torch.where(labels >= 0, labels, seen), "text.length": valid.sum(1)}
    batch = Batch(fields, np.arange(len(seen), dtype=np.uint64), np.zeros(len(seen), np.int64))
    plan = MaskPlan.of_hidden(model.layouts(batch)["text"], labels >= 0)
    model.view_makers["masked"] = SimpleNamespace(
        of="clean", plan="mask", streams=None, complement=False,
        corrupt=lambda view, stream, plan, scene: view.tokens[stream].with_data(seen),
    )
    model.objectives["words"].taps = {
        ("encoder", "masked"): ("embed", *(f"block.{i}" for i in range(min(2, file.config["num_hidden_layers"])))),
    }
    scene = model.scene(batch, plan)
    loss = model.objectives["words"](scene)["words"]
    return SimpleNamespace(valid=valid.bool(), scene=scene, loss=loss, encoded=scene.encode("encoder", "masked"))


@WAYS
@BY_FILE
def test_activations_are_those_of_the_reference(path, fast, build, words):
    file = golden(path)
    model = model_of(file, build, words, fast=fast)
    got = run(file, model)
    valid, out, taps = got.valid, file.outputs, got.encoded.taps
    assert_close("embeddings", taps["embed"][valid], out["embeddings"][valid])
    assert_close("layer0", taps["block.0"][valid], out["layer0"][valid])
    if "layer1" in out:
        assert_close("layer1", taps["block.1"][valid], out["layer1"][valid])
    assert_close("encoder_output", got.encoded.state[valid], out["encoder_output"][valid])
    prediction = got.scene.predictions["words"]
    assert_close("logits", prediction.value, prediction.scored.take(out["logits"]))


@BY_FILE
def test_positions_and_windows_are_those_of_the_reference(path, build, words):
    file = golden(path)
    body, (batch, length) = model_of(file, build, words).encoder.body, file.inputs["input_ids"].shape
    size = body.parts.width // body.parts.heads
    for kind, theta in (("global", body.stack.theta), ("local", body.stack.local_theta)):
        tables = rotary_tables(torch.arange(length), size, theta, torch.float64)
        for name, table in zip(("cos", "sin"), tables, strict=True):
            if f"rope_{name}_{kind}" in file.outputs:
                want = file.outputs[f"rope_{name}_{kind}"][0]
                assert_close(f"rope_{name}_{kind}", torch.cat([table, table], -1), want)
    if "local_mask" not in file.outputs:
        return
    apart = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    seen = (apart <= body.stack.window // 2) & file.inputs["attention_mask"].bool()[:, None, :]
    theirs = file.outputs["local_mask"].bool().view(batch, length, length)
    real = file.inputs["attention_mask"].bool()
    assert torch.equal(seen[real], theirs[real])


@WAYS
@BY_FILE
def test_loss_and_gradients_are_those_of_the_reference(path, fast, build, words):
    file = golden(path)
    model = model_of(file, build, words, fast=fast)
    got = run(file, model)
    assert_close("loss", got.loss, file.outputs["loss"])
    got.loss.backward()
    ours = {
        "encoder": {name: p.grad for name, p in model.encoder.named_parameters()},
        "head": {name: p.grad for name, p in model.objectives["words"].head.named_parameters()},
    }
    where = places(MODERNBERT, ours["encoder"], ours["head"])
    assert file.grads["loss"]
    for name, want in file.grads["loss"].items():
        assert_close(f"grads/loss/{name}", where[name].of(ours[where[name].part]), want)


@BY_FILE
def test_wrong_choices_are_caught_at_this_tolerance(path, build, words):
    file = golden(path)
    window, wrongs = int(file.config["local_attention"]), [{"theta": 10.0}]
    if "local" in model_of(file, build, words).encoder.body.kinds:
        wrongs.append({"local_theta": 10.0})
        if window // 2 + 1 < file.inputs["input_ids"].shape[1]:
            wrongs += [{"window": window + 2}, {"pattern": ("global",)}]
    for wrong in wrongs:
        with pytest.raises(AssertionError, match="relative error"):
            assert_close("loss", run(file, model_of(file, build, words, **wrong)).loss, file.outputs["loss"])
