"""Laws of ELECTRA as its recipe builds it: what is labelled, what is seen, and where gradients go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmask.api import Action, Batch, MaskedModel, NetworkSection, Prediction, Scored, use
from mmask_text.recipes.electra import electra_base, electra_small, electra_tiny

SIZE = 60


@pytest.fixture(name="electra")
def electra_(build: Any, words: Any) -> Any:
    def make(*, weight: float = 50.0, embed: int = 16, wide: int = 16, narrow: int = 8, **sampling: Any) -> MaskedModel:
        recipe = electra_tiny()
        recipe.preview = None
        recipe.tokenize["text"] = use("ids", vocabulary=words(SIZE))
        for name, width in (("encoder", wide), ("generator", narrow)):
            section = recipe.networks[name].model_dump() | {"width": width, "depth": 1, "heads": 2, "hidden": width}
            section |= {"embed_width": embed, "dropout": 0.0, "attention_dropout": 0.0}
            recipe.networks[name] = NetworkSection.model_validate(section)
        recipe.views["discriminator"].corrupt = use("sample-ids", objective="words", **sampling)
        recipe.objectives["replaced"].weight = weight
        return build(recipe)

    return make


@pytest.fixture(name="batch")
def batch_(texts: Any) -> Batch:
    return texts(40, 31, 40, 12, 25, 38, size=SIZE)


def private(model: MaskedModel) -> dict[str, torch.Tensor]:
    """What the generator and its head share with nobody."""
    shared = {id(p) for p in model.encoder.embed.parameters()}
    own = {**dict(model.network("generator").named_parameters()), **dict(model.objectives["words"].named_parameters())}
    return {name: p for name, p in own.items() if id(p) not in shared}


def test_the_discriminator_sees_samples_and_never_a_mask(electra, batch):
    model = electra().eval()
    scene = model.scene(batch)
    plan = scene.plan("mask")
    clean, masked, seen = (scene.view(name).only().ids for name in ("clean", "generator", "discriminator"))
    assert torch.equal(masked == 4, plan.action == Action.MASK)
    assert torch.equal(masked[~plan.hidden], clean[~plan.hidden])
    assert torch.equal(seen[~plan.hidden], clean[~plan.hidden])
    assert (seen != 4).all()
    kept = plan.action == Action.KEEP
    assert kept.any()
    assert (seen != clean)[kept].any()  # kept places are sampled too
    assert torch.equal(plan.hidden.sum(1), torch.tensor([6, 5, 6, 2, 4, 6]))  # round(0.15 * length), specials counted


def test_labels_are_differences_at_every_place_that_is_no_padding(electra, batch):
    model = electra().eval()
    scene = model.scene(batch)
    scored = model.objectives["replaced"].scored(scene)
    label = model.objectives["replaced"].target(scene, scored).value
    clean, seen = (scored.take(scene.view(name).only().ids) for name in ("clean", "discriminator"))
    assert len(label) == int(batch["text.length"].sum())
    assert torch.equal(label > 0, clean != seen)


def test_a_generator_that_hits_every_original_replaces_nothing(electra, batch):
    model = electra().eval()
    hidden = Scored.hidden(model.scene(batch).plan("mask"))
    sure = torch.nn.functional.one_hot(hidden.take(batch["text"]), SIZE) * 99.0
    model.objectives["words"].predict = lambda scene: Prediction(sure, hidden)
    scene = model.scene(batch)
    assert torch.equal(scene.view("discriminator").only().ids, batch["text"])
    scored = model.objectives["replaced"].scored(scene)
    assert not model.objectives["replaced"].target(scene, scored).value.any()


def test_every_hidden_place_is_replaced_where_the_original_is_ruled_out(electra, batch):
    model = electra(disallow_original=True).eval()
    scene = model.scene(batch)
    differs = scene.view("discriminator").only().ids != batch["text"]
    assert torch.equal(differs, scene.plan("mask").hidden)


@pytest.mark.parametrize("widths", [(16, 16, 8), (12, 16, 8), (16, 16, 16), (8, 16, 8)])
def test_the_generators_own_parameters_get_nothing_from_the_discriminator(widths, electra, batch):
    embed, wide, narrow = widths
    model = electra(embed=embed, wide=wide, narrow=narrow)
    model(batch)["replaced"].backward()
    assert private(model)
    assert all(p.grad is None for p in private(model).values())
    table = model.encoder.embed.words.weight
    assert table is model.network("generator").embed.words.weight is model.objectives["words"].head.decoder.weight
    assert table.grad.abs().sum() > 0
    model.zero_grad()
    model(batch)["words"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in private(model).items() if "qkv.bias" not in n)
    assert all(p.grad is None for p in model.objectives["replaced"].parameters())
    assert all(p.grad is None for n, p in model.encoder.named_parameters() if not n.startswith("embed."))
    assert model.encoder.embed.positions.weight.grad.abs().sum() > 0


def test_the_weight_of_the_discriminator_leaves_the_generators_own_gradients_alone(electra, batch):
    grads = []
    for weight in (1.0, 50.0):
        model = electra(weight=weight).double()
        model(batch).total().backward()
        grads.append({name: p.grad for name, p in private(model).items()})
        table = model.encoder.embed.words.weight.grad
        grads[-1]["table"] = table
    moved = grads[0].pop("table"), grads[1].pop("table")
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])
    assert not torch.equal(*moved)


def test_micro_batches_give_the_gradient_of_the_whole_batch(electra, batch):
    whole, parts = electra().double(), electra().double()
    whole(batch).total().backward()
    plans = parts.draw(batch)
    counts = parts.denominators(plans)
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        micro = plans.rows(start, stop)
        parts(micro.batch, micro).total(counts).backward()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_the_same_text_gets_the_same_samples_in_any_batch_and_others_at_another_visit(electra, batch):
    model = electra().double().eval()
    whole = model.scene(batch).view("discriminator").only().ids
    assert torch.equal(model.scene(batch.rows(2, 5)).view("discriminator").only().ids, whole[2:5])
    later = Batch(batch.fields, batch.ids, np.ones(6, np.int64))
    assert not torch.equal(model.scene(later).view("discriminator").only().ids, whole)


def test_both_networks_tell_how_well_they_do(electra, batch):
    told = electra().eval()(batch).metrics
    assert set(told) == {"words_accuracy"} | {
        f"replaced_{name}" for name in ("rate", "accuracy", "precision", "recall", "auc")
    }
    assert float(told["words_accuracy"].count) == 29


def test_the_tables_are_one_after_a_reload(electra, tmp_path):
    model, other = electra(), electra()
    with torch.no_grad():
        model.encoder.embed.words.weight.add_(1.0)
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    table = other.encoder.embed.words.weight
    assert table is other.network("generator").embed.words.weight is other.objectives["words"].head.decoder.weight
    assert torch.equal(table, model.encoder.embed.words.weight)


@pytest.mark.parametrize(("make", "published"), [
    # google/electra-small-discriminator and -base-discriminator by transformers' ElectraForPreTraining
    (electra_small, 13_549_057), (electra_base, 109_483_009),
], ids=["small", "base"])
def test_discriminators_have_the_published_number_of_parameters(make, published, build):
    recipe = make()
    with torch.device("meta"):
        model = build(recipe)
    count = sum(p.numel() for p in model.encoder.parameters())
    count += sum(p.numel() for p in model.objectives["replaced"].parameters())
    assert count == published
    ratio = {"electra-small": 4, "electra-base": 3}[recipe.name]
    assert model.network("generator").width * ratio == model.encoder.width
