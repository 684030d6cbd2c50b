"""mmask as a library: recipes and models by name, with keys changed."""

from __future__ import annotations

import pytest
import torch

import mmask
from mmask import library
from mmask.errors import PlanError, RecipeError, UnknownNameError
from mmask.plugin.host import Host
from mmask.testing import fakes


@pytest.fixture(autouse=True)
def host(monkeypatch):
    made = Host([fakes.entry()], environ={})
    monkeypatch.setattr(library, "plugins", lambda: made)
    return made


def test_recipes_are_listed_and_loaded():
    assert mmask.list_recipes() == {"fakes-tiny": "vectors"}
    assert mmask.load_recipe("fakes-tiny").data.batch_size == 8
    assert mmask.load_recipe("fakes-tiny", profile="demo").data.batch_size == 4
    assert mmask.load_recipe("fakes-tiny", {"mask.ratio": 0.25}, optim__lr=2e-3).optim.lr == 2e-3


def test_a_model_trains_on_a_batch_and_takes_plans():
    model = mmask.create_model("fakes-tiny", networks__encoder__width=16)
    assert model.encoder.width == 16
    batch = fakes.batch(6)
    losses = model(batch)
    losses.terms["vectors"].mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    plans = model.draw(batch)
    given, predictions = model(batch, plans, predictions=True)
    assert float(given.terms["vectors"].total) == float(model(batch).terms["vectors"].total)
    assert predictions["vectors"].value.shape == (6 * 2, 4)


def test_weights_depend_on_the_seed_and_leave_the_callers_state_alone():
    before = torch.random.get_rng_state()
    one, same = (mmask.create_model("fakes-tiny").encoder.embed.weight for _ in range(2))
    other = mmask.create_model("fakes-tiny", {"train.seed": 1}).encoder.embed.weight
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("name", "keys", "kind", "said"), [
    ("fakes-tny", {}, UnknownNameError, "did you mean 'fakes-tiny'?"),
    ("fakes-tiny", {"mask.ratoi": 1}, UnknownNameError, "did you mean 'mask.ratio'?"),
    ("fakes-tiny", {"mask.ratio": "x"}, RecipeError, "mask.ratio = 'x' does not fit"),
])
def test_mistakes_name_the_nearest(name, keys, kind, said):
    with pytest.raises(kind) as caught:
        mmask.create_model(name, keys)
    assert said in str(caught.value)


@pytest.mark.parametrize(("plans", "said"), [
    (lambda p: {"maks": p}, "no plan 'maks' (did you mean 'mask'?)"),
    (lambda p: {"mask": {"y": p}}, "is for stream 'y'"),
    (lambda p: p.rows(0, 2), "is for 2 samples of 4 places; the batch has 3 of 4"),
    (lambda p: p.hidden, "plans are Tensor"),
    (lambda p: {"mask": {"x": p.hidden}}, "of 'x' is Tensor"),
])
def test_plans_that_do_not_fit_the_batch_are_told(plans, said):
    model, batch = mmask.create_model("fakes-tiny"), fakes.batch(3)
    drawn = model.draw(batch).plan("mask")
    with pytest.raises(PlanError) as caught:
        model(batch, plans(drawn))
    assert said in str(caught.value)


def test_a_network_starts_from_the_weights_that_its_recipe_names(tmp_path):
    from safetensors.torch import save_file

    other = mmask.create_model("fakes-tiny", {"train.seed": 5}).encoder
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    made = mmask.create_model("fakes-tiny", {"networks.encoder.init": str(tmp_path / "w.safetensors")}).encoder
    assert torch.equal(made.embed.weight, other.embed.weight)
