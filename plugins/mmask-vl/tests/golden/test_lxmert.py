"""The reference implementation of LXMERT, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.api import Batch, Layout, MaskedObjective, MaskPlan, Scored, Target, Tokens, View
from mmask.testing import component
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_vl.lxmert.answers import AnswerHead, Answers
from mmask_vl.lxmert.encoder import LxmertEncoder
from mmask_vl.lxmert.objects import ObjectTasks
from mmask_vl.lxmert.weights import LxmertWeights

FILES = golden_files("lxmert", Path(__file__).parent)
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
TASKS = {"obj": "label", "attr": "attribute", "feat": "feature"}
ACTS = {"swish": "silu"}


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


class Regions:
    """Values are features, then corners."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def split(self, values):
        return values[..., : self.dim], values[..., self.dim :]


class Sentences:
    """Whose words are whose is in the batch."""

    def __init__(self, size: int) -> None:
        self.size, self.pad_id = size, 0

    def follows(self, batch):
        return torch.ones(len(batch), dtype=torch.int64)  # the reference's answers are gated by its data


class Matched:
    """Whether words belong to their picture, from the batch; -1 where nobody knows."""

    dim = 2

    def known(self, plans):
        return plans.batch["matched"] >= 0

    def __call__(self, scene, scored):
        return Target(scored.take(scene.batch["matched"][:, None]), scored)


class Ids:
    dim = None

    def __call__(self, scene, scored):
        return Target(scored.take(scene.batch["labels"]), scored)


def plan_of(hidden: torch.Tensor, valid: torch.Tensor | None = None) -> MaskPlan:
    return MaskPlan.of_hidden(Layout(*hidden.shape, valid=valid), hidden)


class Once:
    """A scene of the file's inputs, encoded once."""

    def __init__(self, file: Golden, model: SimpleNamespace) -> None:
        given = file.inputs
        fields = {
            "answer": given["answer"], "matched": given["matched_label"], "labels": given["masked_lm_labels"],
            "regions.label": given["obj_label"], "regions.label_confidence": given["obj_conf"],
            "regions.attribute": given["attr_label"], "regions.attribute_confidence": given["attr_conf"],
        }
        rows = np.arange(len(given["answer"]))
        self.batch, self.predictions = Batch(fields, rows.astype(np.uint64), rows * 0), {}
        words = Layout(
            *given["input_ids"].shape, valid=given["attention_mask"].bool(), groups={"type": given["segment_ids"]}
        )
        looks = Layout(*given["boxes"].shape[:2])
        self.plans = {
            "words": plan_of((given["masked_lm_labels"] != -1) & words.valid, words.valid),
            "regions": plan_of(given["feat_mask"] > 0),
        }
        text = Tokens(words, ids=given["input_ids"])
        self.masked = View("masked", {
            "text": text, "regions": Tokens(looks, values=torch.cat([given["visual_feats"], given["boxes"]], -1)),
        })
        self.clean = View("clean", {
            "text": text, "regions": Tokens(looks, values=torch.cat([given["feat_target"], given["boxes"]], -1)),
        })
        self.encoded = model.encoder(self.masked)

    def plan(self, name, stream=None):
        return self.plans[name]

    def layout(self, stream=None):
        return self.masked.tokens[stream].layout

    def view(self, name):
        return self.clean if name == "clean" else self.masked

    def encode(self, network, view, *, taps=()):
        return self.encoded


def model_of(file: Golden, **options) -> SimpleNamespace:
    c = file.config
    act = ACTS.get(c["hidden_act"], c["hidden_act"])
    tokenizers = {"text": Sentences(c["vocab_size"]), "regions": Regions(c["visual_feat_dim"])}
    encoder = LxmertEncoder(
        tokenizers=tokenizers, width=c["hidden_size"], heads=c["num_attention_heads"], language=c["l_layers"],
        objects=c["r_layers"], cross=c["x_layers"], hidden=c["intermediate_size"], act=act,
        places=c["max_position_embeddings"], types=c["type_vocab_size"], eps=c["layer_norm_eps"], dropout=0.0,
        attention_dropout=0.0, **options,
    )
    assert c["visual_pos_dim"] == 4
    section = SimpleNamespace(network="encoder", view="masked", stream="regions", weight=1.0)
    objects = ObjectTasks(
        name="objects", section=section, networks={"encoder": encoder}, tokenizers=tokenizers,
        tasks=[TASKS[name] for name in c["visual_losses"].split(",") if name], labels=c["num_object_labels"],
        attributes=c["num_attr_labels"], at="all", share=1 / c["visual_loss_weight"],
    )
    answers = Answers(classes=c["num_qa_labels"], tokenizers=tokenizers)
    loss = component("loss", "cross-entropy")
    objectives = {
        "words": MaskedObjective(
            name="words", head=component("head", "mlm", network=encoder), target=Ids(), loss=loss, plan="words",
            stream="text",
        ),
        "matching": MaskedObjective(
            name="matching", head=component("head", "pooled", network=encoder, target=Matched()), target=Matched(),
            loss=loss, scored="pooled",
        ),
        "objects": objects,
        "answers": MaskedObjective(
            name="answers", head=AnswerHead(network=encoder, target=answers), target=answers, loss=loss,
            scored="pooled",
        ),
    }
    parts = {"encoder": encoder, **{name: o if name == "objects" else o.head for name, o in objectives.items()}}
    whole = torch.nn.ModuleDict({**parts, "objectives": torch.nn.ModuleDict(objectives)}).double().eval()
    model = SimpleNamespace(**parts, parts=parts, objectives=objectives, whole=whole)
    model.places = {part: dict(module.named_parameters()) for part, module in parts.items()}
    tensors = LxmertWeights.official(model.places)
    assert set(file.weights) - {"cls.predictions.decoder.weight"} == set(tensors) - {"cls.predictions.decoder.weight"}
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(file.weights[name])
    return model


LOSSES = {
    "loss_mask_lm": "words", "loss_matched": "matching", "loss_qa": "answers", "loss_obj": "objects_label",
    "loss_attr": "objects_attribute", "loss_feat": "objects_feature",
}


def run(file: Golden, model: SimpleNamespace) -> SimpleNamespace:
    scene = Once(file, model)
    terms = {}
    for objective in model.objectives.values():
        made = objective(scene)
        assert {name: term.count for name, term in made.terms.items()} == objective.denominators(scene)
        terms |= made.terms
    losses = {name: term.weight * term.mean() for name, term in terms.items()}
    return SimpleNamespace(scene=scene, losses=losses, loss=sum(losses.values()))


@each_file
def test_activations_are_those_of_the_reference(path):
    file = golden(path)
    model = model_of(file)
    scene, want = Once(file, model), file.outputs
    encoder, valid = model.encoder, file.inputs["attention_mask"].bool()
    looks = encoder.looks(scene.masked.tokens["regions"])
    assert_close("visual_embedding", looks.segments.put(looks.states), want["visual_embedding"])
    if len(encoder.cross.layers):
        words, looks = encoder.apart(scene.masked)
        x, y = encoder.cross.layers[0].exchange(words.states, looks.states, words.segments, looks.segments)
        assert_close("first_cross_lang", words.segments.put(x)[valid], want["first_cross_lang"][valid])
        assert_close("first_cross_visn", looks.segments.put(y), want["first_cross_visn"])
    text, regions = scene.encoded.stream("text"), scene.encoded.stream("regions")
    assert_close("lang_output", text.state[valid], want["lang_output"][valid])
    assert_close("visn_output", regions.state, want["visn_output"])
    assert_close("pooled_output", scene.encoded.pooled, want["pooled_output"])
    real, everyone = Scored.valid(text.layout), Scored(Layout(len(valid), 1), "pooled")
    assert_close("lm_scores", model.words(text, real).value, want["lm_scores"][valid])
    assert_close("matched_scores", model.matching(scene.encoded, everyone).value, want["matched_scores"])
    assert_close("answer_scores", model.answers(scene.encoded, everyone).value, want["answer_scores"])
    for theirs, task in TASKS.items():
        if task in model.objects.tasks:
            scores = model.objects.answer(task, regions.state)
            assert_close(f"{theirs}_scores", scores, want[f"{theirs}_scores"])


@each_file
@pytest.mark.parametrize("fast", [True, False])
def test_losses_and_gradients_are_those_of_the_reference(path, fast):
    file = golden(path)
    model = model_of(file, fast=fast)
    got = run(file, model)
    for theirs, ours in LOSSES.items():
        if theirs in file.outputs and ours in got.losses:
            assert_close(theirs, got.losses[ours], file.outputs[theirs])
    assert_close("loss", got.loss, file.outputs["loss"])
    got.loss.backward()
    grads = LxmertWeights.official(
        {part: {name: value.grad for name, value in own.items()} for part, own in model.places.items()}
    )
    assert file.grads["loss"]
    for name, want in file.grads["loss"].items():
        assert_close(f"grads/loss/{name}", grads[name], want)
    still = model.encoder.embed
    assert not still.positions.weight.grad[0].any()
    assert still.types.weight.grad is None or not still.types.weight.grad[0].any()


@each_file
def test_confidences_and_denominators_matter(path):
    file = golden(path)
    scene = Once(file, model := model_of(file))
    objects = model.objects
    if "label" not in objects.tasks:
        pytest.skip("this file has no class of objects")
    surer = scene.batch.with_field("regions.label_confidence", 2 * file.inputs["obj_conf"] + 1)
    before, scene.batch = objects(scene).terms["objects_label"], surer
    assert not torch.isclose(before.mean(), objects(scene).terms["objects_label"].mean())
    objects.at = "hidden"
    assert objects(scene).terms["objects_label"].count == before.count
