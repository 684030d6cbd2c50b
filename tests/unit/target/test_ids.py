"""Ids: the clean ids at scored places, and the floor of one who knows frequencies alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmask.errors import RecipeError
from mmask.target.ids import Ids
from mmask.types import Layout, MaskPlan, Scored, Tokens, View

VALID = torch.tensor([[True, True, True, True], [True, True, False, False]])
IDS = torch.tensor([[1, 2, 2, 3], [2, 1, 0, 0]])
HIDDEN = torch.tensor([[False, True, False, False], [True, False, False, False]])


def target(size: int | None = 5, tokens: Tokens | None = None):
    layout = Layout(2, 4, valid=VALID)
    tokens = Tokens(layout, ids=IDS) if tokens is None else tokens
    scene = SimpleNamespace(view=lambda name: View(name, {"text": tokens}))
    maker = Ids(tokenizer=SimpleNamespace(size=size))
    return maker, maker(scene, Scored.hidden(MaskPlan.of_hidden(layout, HIDDEN)))


def test_clean_ids_at_scored_places() -> None:
    maker, made = target()
    assert made.value.tolist() == [2, 2]
    assert maker.dim == 5


def test_the_floor_knows_what_is_not_scored() -> None:
    """Left are 1, 2, 3, 1: three kinds in four; 3 / (4 + 3) is shared by all five ids."""
    maker, made = target()
    assert made.extra["seen"].tolist() == [0, 2, 1, 1, 0]
    share = maker.trivial(made).value.exp()
    assert share.shape == (2, 5)
    assert share[0].tolist() == pytest.approx([0.6 / 7, 2.6 / 7, 1.6 / 7, 1.6 / 7, 0.6 / 7])


def test_refusals() -> None:
    with pytest.raises(RecipeError, match="needs padded tokens with one id"):
        target(tokens=Tokens(Layout(2, 4), values=torch.zeros(2, 4, 3)))
    maker, made = target(size=None)
    with pytest.raises(RecipeError, match="offers 'size'"):
        maker.trivial(made)
