"""The light decoder."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.heads.decoder import TransformerDecoder
from mmask.types import Encoded, Layout, MaskPlan, Scored


def decoder(grid=(3, 4), prefix=1, **options):
    torch.manual_seed(0)
    wiring = {"network": SimpleNamespace(width=12, prefix=prefix), "tokenizer": SimpleNamespace(grid=grid)}
    options = {"width": 16, "depth": 2, "heads": 2, **options}
    return TransformerDecoder(target=SimpleNamespace(dim=5), **wiring, **options).double()


def encoded(plan, prefix=1, seed=1):
    torch.manual_seed(seed)
    layout = plan.layout.take(plan.keep_idx, plan.kept)
    return Encoded(layout, torch.randn(layout.batch, prefix + layout.length, 12, dtype=torch.float64), prefix)


def of(hidden, grid=(3, 4), **more):
    hidden = torch.tensor(hidden, dtype=torch.bool)
    return MaskPlan.of_hidden(Layout(*hidden.shape, grid=grid, **more), hidden)


def test_the_order_of_kept_places_does_not_matter():
    layout, head = Layout(2, 12, grid=(3, 4)), decoder()
    order = torch.stack([torch.randperm(12) for _ in range(2)])
    plan = MaskPlan.of_order(layout, order, 5)
    state = encoded(plan)
    sort = plan.keep_idx.argsort(1)
    sorted_plan = MaskPlan(layout, plan.hidden, plan.keep_idx.gather(1, sort))
    places = state.places.gather(1, sort[..., None].expand(-1, -1, 12))
    moved = Encoded(layout.take(sorted_plan.keep_idx), torch.cat([state.state[:, :1], places], 1), 1)
    a, b = (head(e, Scored.hidden(plan)).value for e in (state, moved))
    assert (a - b).abs().max() < 1e-12


def test_hidden_places_start_as_the_mask_token_at_their_position():
    plan, head = of([[1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1]]), decoder()
    sequence = head.sequence(encoded(plan), plan.layout) - head.positions
    assert torch.allclose(sequence[0, 1:][plan.hidden[0]], head.mask_token[0].expand(9, -1), atol=1e-12)


def test_samples_do_not_see_each_other_and_padding_is_not_seen():
    valid = torch.ones(2, 6, dtype=torch.bool)
    valid[1, 4:] = False
    head = decoder(grid=(6,))
    plan = of([[1, 0, 1, 0, 0, 1], [1, 0, 1, 0, 0, 0]], grid=None, valid=valid)
    state = encoded(plan)
    value = head(state, Scored.hidden(plan)).value
    alone = plan.rows(1, 2)
    lone = Encoded(state.layout.rows(1, 2), state.state[1:], 1)
    assert (head(lone, Scored.hidden(alone)).value - value[3:]).abs().max() < 1e-12


def test_nothing_scored_gives_no_rows_and_touches_every_parameter():
    head, plan = decoder(), of([[0] * 12, [0] * 12])
    value = head(encoded(plan), Scored.hidden(plan)).value
    assert value.shape == (0, 5)
    value.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_scoring_every_place_works_without_an_index():
    head, plan = decoder(), of([[1, 0] * 6, [0, 1] * 6])
    every = head(encoded(plan), Scored(plan.layout)).value
    some = head(encoded(plan), Scored.hidden(plan)).value
    assert (every[plan.flat_hidden] - some).abs().max() < 1e-12


def test_a_layout_of_another_size_or_other_prefix_tokens_are_refused():
    head, plan = decoder(), of([[1, 0, 1, 0]], grid=(2, 2))
    with pytest.raises(PlanError, match=r"grid \(3, 4\).*4 positions"):
        head(encoded(plan), Scored.hidden(plan))
    plan = of([[1, 0] * 6])
    with pytest.raises(PlanError, match="1 prefix"):
        head(encoded(plan, prefix=2), Scored.hidden(plan))
    with pytest.raises(RecipeError, match="16 cannot have 3 heads"):
        decoder(heads=3)
