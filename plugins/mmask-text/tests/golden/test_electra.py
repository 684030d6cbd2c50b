"""transformers' ELECTRA with the official pretraining losses, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place: embeddings of
the width of either network, of both or of none, tables shared or not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmask.api import Batch, MaskedModel, MaskPlan, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_text.recipes.electra import electra
from mmask_text.weights.configs import ACTS
from mmask_text.weights.electra import ElectraWeights

FILES = golden_files("electra", Path(__file__).parent)
BY_FILE = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, build: Any, words: Any, *, weight: float | None = None, **options: Any) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    c = file.config
    recipe = electra(file.name, "", width=64, embed_width=64, generator=1, lr=1.0)
    recipe.preview = None
    vocabulary = words(c["vocab_size"], c.get("pad_token_id", 0))
    recipe.tokenize["text"] = use("ids", vocabulary=vocabulary)
    shared = {
        "places": c["max_position_embeddings"], "types": c["type_vocab_size"], "act": ACTS[c.get("hidden_act", "gelu")],
        "eps": c["layer_norm_eps"], "embed_width": c["embedding_size"], **options,
    }
    for name, side in (("encoder", "disc"), ("generator", "gen")):
        sizes = {"width": "hidden_size", "depth": "layers", "heads": "heads", "hidden": "intermediate"}
        own = {ours: c[f"{side}_{theirs}"] for ours, theirs in sizes.items()}
        if name == "generator" and c.get("shared_embeddings", True):
            own["share"] = "encoder"
        recipe.networks[name] = type(recipe.networks[name]).model_validate({"use": "text", **shared, **own})
    recipe.objectives["words"].weight = float(c.get("gen_weight", 1.0))
    recipe.objectives["replaced"].weight = float(c.get("disc_weight", 50.0)) if weight is None else weight
    fast = options.get("fast", True)
    recipe.objectives["words"].head = use("mlm", fast=fast, act="gelu")  # whatever the layers have
    recipe.objectives["replaced"].head = use("rtd", fast=fast)
    model = build(recipe).double().eval()
    assert not list(ElectraWeights().load(model, file.weights))
    return model


class Draws:
    """The file's own samples in the generator's place."""

    site = "embedding"

    def __init__(self, drawn: torch.Tensor) -> None:
        self.drawn = drawn

    def __call__(self, view, stream, plan, scene):
        tokens = view.tokens[stream]
        return tokens.with_data(torch.where(self.drawn >= 0, self.drawn, tokens.ids))


def run(file: Golden, model: MaskedModel) -> SimpleNamespace:
    """One pass over the file's texts, with its hidden places and samples."""
    clean, labels, valid = (file.inputs[name] for name in ("original_ids", "labels", "attention_mask"))
    fields = {"text": clean, "text.length": valid.sum(1)}
    assert torch.equal(valid.bool(), torch.arange(clean.shape[1]) < valid.sum(1)[:, None])
    if "token_type_ids" in file.inputs:
        fields["text.type"] = file.inputs["token_type_ids"]
    batch = Batch(fields, np.arange(len(clean), dtype=np.uint64), np.zeros(len(clean), np.int64))
    layout = model.layouts(batch)["text"]
    assert torch.equal(labels[labels >= 0], clean[labels >= 0])
    scene = model.scene(batch, MaskPlan.of_hidden(layout, labels >= 0))
    maker = model.view_makers["discriminator"]
    model.view_makers["discriminator"] = type(maker)(maker.of, maker.plan, Draws(file.inputs["sampled_ids"]))
    losses = model.objectives["words"](scene), model.objectives["replaced"](scene)
    total = sum(loss.total() for loss in losses)
    return SimpleNamespace(
        layout=layout, scene=scene, total=total, gen=losses[0]["words"], disc=losses[1]["replaced"],
        real=torch.ones_like(clean, dtype=torch.bool) if layout.valid is None else layout.valid,
    )


@BY_FILE
def test_activations_are_those_of_the_reference(path, build, words):
    file = golden(path)
    got = run(file, model_of(file, build, words))
    outputs, scene, real = file.outputs, got.scene, got.real
    masked, seen = scene.view("generator").only().ids, scene.view("discriminator").only().ids
    assert torch.equal(masked[real], file.inputs["input_ids"][real])
    assert torch.equal(seen[real], outputs["disc_input_ids"][real])
    states = {"gen": scene.encode("generator", "generator"), "disc": scene.encode("encoder", "discriminator")}
    for side, encoded in states.items():
        assert_close(f"{side}_encoder_output", encoded.state[real], outputs[f"{side}_encoder_output"][real])
    said = scene.predictions["words"]
    size = file.config["vocab_size"]
    assert_close("gen_logits", said.value[:, :size], said.scored.take(outputs["gen_logits"]))
    said = scene.predictions["replaced"]
    assert_close("disc_logits", said.value, said.scored.take(outputs["disc_logits"]))


@pytest.mark.parametrize("options", [{}, {"qkv": "separate"}, {"fast": False}], ids=["packed", "separate", "plain"])
@pytest.mark.parametrize("loss", ["loss", "loss_equal_weights"])
@BY_FILE
def test_losses_and_gradients_are_those_of_the_reference(path, loss, options, build, words):
    file = golden(path)
    equal = file.config.get("gen_weight", 1.0) if loss == "loss_equal_weights" else None
    model = model_of(file, build, words, weight=equal, **options)
    got = run(file, model)
    assert_close("loss_gen", got.gen, file.outputs["loss_gen"])
    assert_close("loss_disc", got.disc, file.outputs["loss_disc"])
    assert_close(loss, got.total, file.outputs[loss])
    got.total.backward()
    grads = {
        f"{side}.{name}": grad for side in ("discriminator", "generator")
        for name, grad in ElectraWeights.official(model, side, lambda value: value.grad).items()
    }
    assert file.grads[loss]
    for name, want in file.grads[loss].items():
        assert_close(f"grads/{loss}/{name}", grads[name], want)


@BY_FILE
def test_labels_are_those_of_the_reference_lucky_samples_too(path, build, words):
    file = golden(path)
    model = model_of(file, build, words)
    got = run(file, model)
    scored = got.scene.predictions["replaced"].scored
    target = model.objectives["replaced"].target(got.scene, scored)
    assert torch.equal(target.value, scored.take(file.outputs["disc_labels"]).float())
    assert len(target.value) == int(got.real.sum())


@BY_FILE
def test_wrong_choices_are_caught_at_this_tolerance(path, build, words):
    file = golden(path)
    for wrong in ({"act": "gelu_tanh"}, {"eps": 1e-5}):
        with pytest.raises(AssertionError, match="relative error"):
            assert_close("loss", run(file, model_of(file, build, words, **wrong)).total, file.outputs["loss"])
    got = run(file, model_of(file, build, words))
    said, hidden = got.scene.predictions["replaced"], got.scene.plan("mask").hidden
    masked = torch.nn.functional.binary_cross_entropy_with_logits(
        said.value, said.scored.take(hidden.double())
    )  # every hidden place called replaced
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss_disc", masked, file.outputs["loss_disc"])
