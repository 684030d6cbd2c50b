"""transformers' Wav2Vec2ForPreTraining, number for number, in float64.

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

from mmask.api import Batch, MaskedModel, MaskPlan, use
from mmask.testing import build
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_audio.recipes.wav2vec2 import wav2vec2
from mmask_audio.wav2vec2.weights import Wav2Vec2Weights

FILES = golden_files("wav2vec2", Path(__file__).parent)
WAYS = pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
EACH = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, *, fast: bool = True) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    c = file.config
    recipe = wav2vec2(file.name, "", width=c["hidden_size"], depth=2, heads=c["num_attention_heads"])
    recipe.tokenize["audio"] = use(
        "conv-features", channels=c["conv_dim"], kernels=c["conv_kernel"], strides=c["conv_stride"],
        bias=c["conv_bias"], norm=c["feat_extract_norm"], fast=fast,
    )
    assert c.get("feat_extract_activation", "gelu") == c.get("hidden_act", "gelu") == "gelu"
    network = recipe.networks["encoder"]
    recipe.networks["encoder"] = type(network).model_validate({
        "use": network.use, "width": c["hidden_size"], "depth": c["num_hidden_layers"],
        "heads": c["num_attention_heads"], "hidden": c["intermediate_size"], "eps": c.get("layer_norm_eps", 1e-5),
        "positions": c["num_conv_pos_embeddings"], "position_groups": c["num_conv_pos_embedding_groups"],
        "pre_norm": c["do_stable_layer_norm"], "fast": fast,
    })
    contrast = recipe.objectives["contrast"]
    contrast.target = use(
        "gumbel-codes", groups=c["num_codevector_groups"], entries=c["num_codevectors_per_group"],
        width=c["codevector_dim"], dim=c["proj_codevector_dim"], negatives=c["num_negatives"],
        temperature=(c["gumbel_temperature"], c["gumbel_temperature"], 1.0),
    )
    contrast.loss = use("sampled-contrast", temperature=c["contrastive_logits_temperature"], fast=fast)
    contrast.options = {"diversity": c["diversity_loss_weight"]}
    model = build(recipe).double()
    assert not list(Wav2Vec2Weights().load(model, file.weights))
    return model


def batch_of(file: Golden) -> Batch:
    audio = file.inputs["input_values"]
    fields: dict[str, Any] = {"audio": audio}
    if "attention_mask" in file.inputs:
        fields["audio.length"] = file.inputs["attention_mask"].long().sum(1)
    return Batch(fields, np.arange(len(audio), dtype=np.uint64), np.zeros(len(audio), np.int64))


def run(file: Golden, model: MaskedModel, *, training: bool) -> SimpleNamespace:
    """One forward pass with the file's hidden frames, noise and negatives as the plan."""
    c, batch = file.config, batch_of(file)
    hidden = file.inputs["mask_time_indices"].bool()
    count, length = hidden.shape
    noise = file.inputs["gumbel_noise"].view(count, length, c["num_codevector_groups"], c["num_codevectors_per_group"])
    negatives = file.inputs["sampled_negative_indices" if training else "sampled_negative_indices_eval"]
    places = negatives - torch.arange(count)[:, None, None] * length
    model.train(training)
    plan = MaskPlan.of_hidden(
        model.layouts(batch)["audio"], hidden,
        extra={"gumbel": noise, "negatives": torch.where(hidden[..., None], places, 0)},
    )
    scene = model.scene(batch, plan)
    contrast: Any = model.objectives["contrast"]
    losses = contrast(scene)
    terms = losses.terms
    sums = {"contrast": terms["contrast"].total, "diversity": terms["contrast_diversity"].total}
    total = sums["contrast"] + terms["contrast_diversity"].weight * sums["diversity"]
    scored = scene.predictions["contrast"].scored
    return SimpleNamespace(
        scene=scene, scored=scored, contrast=contrast, sums=sums, total=total, metrics=losses.metrics,
        target=contrast.target(scene, scored), valid=plan.layout.maskable(),
    )


@WAYS
@EACH
def test_activations_are_those_of_the_reference(path, fast):
    file = golden(path)
    model = model_of(file, fast=fast)
    got, outputs = run(file, model, training=True), file.outputs
    clean = got.scene.view("clean").only()
    assert_close("feature_extractor", clean.values[got.valid], outputs["feature_extractor"][got.valid])
    encoded = model.encoder(got.scene.view("masked"), taps=("projected", "positions"))
    assert_close("masked_projected", encoded.taps["projected"][got.valid], outputs["masked_projected"][got.valid])
    assert_close("pos_conv", encoded.taps["positions"][got.valid], outputs["pos_conv"][got.valid])
    assert_close("encoder_output", encoded.state[got.valid], outputs["encoder_output"][got.valid])
    head = got.contrast.head.proj(encoded.state[got.valid])
    assert_close("projected_states", head, outputs["projected_states"][got.valid])
    scored, quantizer = got.scored, got.contrast.target.quantizer
    said = got.scene.predictions["contrast"].value
    assert_close("projected_states", said, scored.take(outputs["projected_states"]))
    features = model.encoder.normalise(clean.values).flatten(0, 1)
    noise = file.inputs["gumbel_noise"].view(len(features), quantizer.groups, quantizer.entries)
    made = quantizer(features, noise, file.config["gumbel_temperature"])
    codes = scored.take(made.vectors.view(*clean.values.shape[:2], -1))
    assert_close("codevectors", codes, scored.take(outputs["codevectors"]))
    assert_close("projected", got.target.value, scored.take(outputs["projected_quantized_states"]))
    assert_close("perplexity", got.metrics["prob_perplexity"], outputs["perplexity"])


@WAYS
@EACH
def test_losses_and_gradients_are_those_of_the_reference(path, fast):
    file = golden(path)
    model = model_of(file, fast=fast)
    for training, mark in ((True, ""), (False, "_eval")):
        model.zero_grad(set_to_none=True)
        got = run(file, model, training=training)
        assert_close("loss_contrastive", got.sums["contrast"], file.outputs[f"loss_contrastive{mark}"])
        assert_close("loss_diversity", got.sums["diversity"], file.outputs[f"loss_diversity{mark}"])
        assert_close("loss", got.total, file.outputs[f"loss{mark}"])
        got.total.backward()
        grads = Wav2Vec2Weights.gradients(model)
        assert file.grads[f"loss{mark}"]
        for name, want in file.grads[f"loss{mark}"].items():
            assert_close(f"grads/loss{mark}/{name}", grads[name], want)


@EACH
def test_evaluation_takes_hard_codes(path):
    file = golden(path)
    got = run(file, model_of(file), training=False)
    want = got.scored.take(file.outputs["eval_projected_quantized_states"])
    assert_close("eval_projected_quantized_states", got.target.value, want)
    assert_close("eval_perplexity", got.metrics["code_perplexity"], file.outputs["eval_perplexity"])


@EACH
def test_wrong_choices_are_caught_at_this_tolerance(path):
    """A mean in place of the sum, a quantizer that reads unnormed features, another temperature."""
    file = golden(path)
    model = model_of(file)
    want = file.outputs["loss"]
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model, training=True).total / len(file.inputs["mask_time_indices"]), want)
    contrast: Any = model.objectives["contrast"]
    schedule = contrast.target.schedule
    contrast.target.schedule = (schedule[0] * 1.01, schedule[1], schedule[2])
    got = run(file, model, training=True)
    (grad,) = torch.autograd.grad(got.total, contrast.target.quantizer.weight_proj.weight)
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("weight_proj", grad, file.grads["loss"]["quantizer.weight_proj.weight"])
    contrast.target.schedule = schedule
    model.encoder.normalise = lambda values: values
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model, training=True).total, want)
