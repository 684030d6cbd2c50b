"""Discrete ids and latents as targets."""

from __future__ import annotations

from math import log
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmask.errors import PlanError, RecipeError
from mmask.loss.entropy import CrossEntropy
from mmask.target.codes import Codes
from mmask.target.latents import Latents
from mmask.types import Encoded, Layout, MaskPlan, Scored, Target, TargetSource


class Ids(nn.Module):
    vocabulary = 9

    def ids(self, picture: torch.Tensor) -> torch.Tensor:
        return picture[:, 0, ::2, ::2].long()


def plan() -> MaskPlan:
    hidden = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0]]).bool()
    return MaskPlan.of_hidden(Layout(2, 6, grid=(2, 3)), hidden)


def scene(picture: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(batch={"second": picture}, network=lambda name: Ids())


def test_ids_lie_on_the_places_row_by_row():
    picture = torch.randint(0, 9, (2, 3, 4, 6))
    target = Codes(field="second", networks={"tokenizer": Ids()})(scene(picture), Scored.hidden(plan()))
    assert torch.equal(target.value, picture[:, 0, ::2, ::2].flatten(1)[plan().hidden])
    assert target.source is TargetSource.NETWORK


def test_the_vocabulary_is_the_targets_size():
    assert Codes(networks={"tokenizer": Ids()}).dim == 9


def test_the_trivial_guess_costs_the_entropy_of_the_codes():
    maker = Codes(field="second", networks={"tokenizer": Ids()})
    places = Scored(Layout(1, 8), index=torch.arange(8))
    target = Target(torch.tensor([0, 0, 0, 0, 1, 1, 2, 3]), places)
    loss = CrossEntropy()(maker.trivial(target), target).mean()
    assert loss.item() == pytest.approx((0.5 * 1 + 0.25 * 2 + 0.25 * 3) * log(2), rel=1e-5)


def test_codes_that_are_not_one_a_place_are_refused():
    with pytest.raises(PlanError, match=r"\(2, 2\) codes"):
        Codes(field="second", networks={"tokenizer": Ids()})(
            scene(torch.zeros(2, 3, 4, 4)), Scored.hidden(plan())
        )
    with pytest.raises(PlanError):  # as many codes, the other way up
        Codes(field="second", networks={"tokenizer": Ids()})(
            scene(torch.zeros(2, 3, 6, 4)), Scored.hidden(plan())
        )


def test_a_network_that_gives_no_ids_is_refused():
    with pytest.raises(RecipeError, match="gives no ids"):
        Codes(networks={"tokenizer": nn.Linear(2, 2)})
    with pytest.raises(RecipeError, match="did you mean 'tokenizer'"):
        Codes(network="tokeniser", networks={"tokenizer": Ids()})


def test_latents_are_constants_also_through_an_adapter():
    weight = torch.randn(4, 4, requires_grad=True)
    asked = []

    def encode(network: str, view: str, *, grad: bool = True) -> Encoded:
        asked.append((network, view, grad))
        layout = plan().layout.take(plan().hide_idx)
        return Encoded(layout, torch.ones(2, 2, 4) @ weight)

    adapter = SimpleNamespace(adapt=lambda states: states @ weight * 2)
    made = SimpleNamespace(encode=encode, network=lambda name: adapter)
    target = Latents(network="teacher", view="other", through="adapter")(made, Scored.hidden(plan()))
    assert asked == [("teacher", "other", False)]
    assert not target.value.requires_grad
    assert not target.attached
    assert torch.allclose(target.value, (torch.ones(4, 4) @ weight @ weight * 2).detach())
