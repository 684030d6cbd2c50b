"""transformers' BertForMaskedLM, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmask.api import Batch, MaskedModel, MaskPlan, ObjectiveSection, ViewSection, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_text.recipes.bert import bert
from mmask_text.weights.hf import HfTextWeights, config_options
from mmask_text.weights.names import BERT, places

FILES = golden_files("bert_mlm", Path(__file__).parent)
BY_FILE = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, build: Any, words: Any, **options: Any) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    config = dict(file.config)
    made = config_options({"model_type": "bert", **config})
    recipe = bert(file.name, "", width=config["hidden_size"], depth=1, heads=1)
    recipe.tokenize["text"] = use("ids", vocabulary=words(config["vocab_size"], config.get("pad_token_id", 0)))
    recipe.networks["encoder"] = type(recipe.networks["encoder"]).model_validate(
        {"use": "text", **made.encoder, **options}
    )
    recipe.mask, recipe.views = use("random"), {"masked": ViewSection()}
    objective = recipe.objectives["words"]
    recipe.objectives["words"] = ObjectiveSection.model_validate(
        {**objective.model_dump(), "head": use("mlm", **made.head, fast=options.get("fast", True))}
    )
    model = build(recipe).double().eval()
    assert not [line for line in HfTextWeights().load(model, file.weights) if "pooler" not in line]
    return model


def run(file: Golden, model: MaskedModel) -> SimpleNamespace:
    """One pass over the file's own corrupted ids; its labels are the clean ones, where they say so."""
    seen, labels, valid = (file.inputs[name] for name in ("input_ids", "labels", "attention_mask"))
    fields = {"text": torch.where(labels >= 0, labels, seen), "text.length": valid.sum(1)}
    assert torch.equal(valid.bool(), torch.arange(seen.shape[1]) < valid.sum(1)[:, None])
    if "token_type_ids" in file.inputs:
        fields["text.type"] = file.inputs["token_type_ids"]
    batch = Batch(fields, np.arange(len(seen), dtype=np.uint64), np.zeros(len(seen), np.int64))
    layout = model.layouts(batch)["text"]
    plan = MaskPlan.of_hidden(layout, labels >= 0)
    taps = ["embed", "block.0", "block.0.attention"]
    model.view_makers["masked"] = SimpleNamespace(
        of="clean", plan="mask", streams=None, complement=False,
        corrupt=lambda view, stream, plan, scene: view.tokens[stream].with_data(seen),
    )
    model.objectives["words"].taps = {("encoder", "masked"): tuple(taps)}
    scene = model.scene(batch, plan)
    loss = model.objectives["words"](scene)["words"]
    return SimpleNamespace(layout=layout, scene=scene, loss=loss, encoded=scene.encode("encoder", "masked"))


def at(values: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    return values if valid is None else values[valid]


@BY_FILE
def test_activations_are_those_of_the_reference(path, build, words):
    file = golden(path)
    got = run(file, model_of(file, build, words))
    valid, taps = got.layout.valid, got.encoded.taps
    assert_close("embeddings", at(taps["embed"], valid), at(file.outputs["embeddings"], valid))
    assert_close("hidden_1", at(taps["block.0"], valid), at(file.outputs["hidden_1"], valid))
    assert_close("encoder_output", at(got.encoded.state, valid), at(file.outputs["encoder_output"], valid))
    shares, theirs = taps["block.0.attention"], file.outputs["attention_0"]
    real = torch.ones(shares.shape[0], shares.shape[2], dtype=torch.bool) if valid is None else valid
    assert_close("attention_0", shares.transpose(1, 2)[real], theirs.transpose(1, 2)[real])
    prediction = got.scene.predictions["words"]
    size = file.config["vocab_size"]
    assert_close("logits", prediction.value[:, :size], prediction.scored.take(file.outputs["logits"]))


@pytest.mark.parametrize("options", [{}, {"qkv": "separate"}, {"fast": False}], ids=["packed", "separate", "plain"])
@BY_FILE
def test_loss_and_gradients_are_those_of_the_reference(path, options, build, words):
    file = golden(path)
    model = model_of(file, build, words, **options)
    got = run(file, model)
    assert_close("loss", got.loss, file.outputs["loss"])
    got.loss.backward()
    head = model.objectives["words"].head
    ours = {
        "encoder": {name: p.grad for name, p in model.encoder.named_parameters()},
        "head": {name: p.grad for name, p in head.named_parameters()},
    }
    where = places(BERT, ours["encoder"], ours["head"])
    assert file.grads["loss"]
    for name, want in file.grads["loss"].items():
        assert_close(f"grads/loss/{name}", where[name].of(ours[where[name].part]), want)


@BY_FILE
def test_wrong_choices_are_caught_at_this_tolerance(path, build, words):
    file = golden(path)
    for wrong in ({"act": "gelu_tanh"}, {"eps": 1e-5}, {"norm": "pre", "final_norm": False}):
        with pytest.raises(AssertionError, match="relative error"):
            assert_close("loss", run(file, model_of(file, build, words, **wrong)).loss, file.outputs["loss"])
