"""Segments: longest first, there and back without loss, gradients where values came from."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import PlanError
from mmask.layers.segments import Segments, gather, spread
from mmask.types import Layout, Tokens

LENGTHS = torch.tensor([3, 0, 7, 7, 1, 5])
VALID = torch.arange(7) < LENGTHS[:, None]


def segments(**options: bool) -> Segments:
    return Segments.of(Layout(6, 7, valid=VALID), **options)


def test_longest_first_and_back() -> None:
    made, values = segments(), torch.arange(42).view(6, 7)
    assert made.lengths == (7, 7, 5, 3, 1)
    packed = made.take(values)
    assert packed.tolist()[:7] == values[2].tolist()
    assert made.positions.tolist() == [*range(7), *range(7), *range(5), *range(3), 0]
    assert torch.equal(made.put(packed), values * VALID)
    assert made.offsets().tolist() == [0, 7, 14, 19, 22, 23]


def test_flat_batches_come_in_the_order_of_their_samples() -> None:
    made, tokens = segments(), Tokens(Layout(6, 7, valid=VALID), ids=torch.arange(42).view(6, 7))
    flat = tokens.pack()
    packed = made.take_flat(flat.data)
    assert torch.equal(packed, made.take(tokens.data))
    assert torch.equal(made.put_flat(packed), flat.data)


def test_nothing_is_moved_without_padding() -> None:
    values = torch.randn(2, 3, 4)
    made = Segments.of(Layout(2, 3))
    assert made.take(values).data_ptr() == values.data_ptr()
    assert made.rows is None
    assert made.lengths == (3, 3)


def test_the_plain_twin_keeps_padding() -> None:
    made = segments(padded=True)
    assert (made.total, made.lengths, made.padded) == (42, (7,) * 6, True)
    assert torch.equal(made.keys, VALID)
    with pytest.raises(PlanError, match="takes padded tokens"):
        made.take_flat(torch.zeros(23))


def test_dropped_places_are_not_regular() -> None:
    index = torch.tensor([[0, 1, 2], [0, 2, 3]])
    assert not Segments.of(Layout(2, 3, index=index, total=5)).regular
    shifted = torch.tensor([[0, 1, 2], [1, 2, 3]])
    made = Segments.of(Layout(2, 3, index=shifted, total=5))
    assert made.regular
    assert made.positions.tolist() == [0, 1, 2, 1, 2, 3]


def test_small_samples_share_a_call_and_large_ones_do_not() -> None:
    lengths = torch.tensor([60, 50, 50, 40])
    layout = Layout(4, 60, valid=torch.arange(60) < lengths[:, None])
    narrow, wide = (Segments.of(layout).groups(width) for width in (8, 4096))
    assert [(group.count, group.longest) for group in narrow] == [(4, 60)]
    assert [(group.count, group.longest) for group in wide] == [(1, 60), (2, 50), (1, 40)]
    assert [group.start for group in wide] == [0, 60, 160]
    assert wide[1].index is None


def test_gradients_go_where_values_came_from() -> None:
    made = segments()
    x = torch.randn(6, 7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: made.put(made.take(v)), x)
    group = made.groups(1)[0]
    assert group.count == 5
    rows = torch.randn(group.rows, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: gather(spread(v, group).square(), group), rows)
    assert torch.equal(gather(spread(rows, group), group), rows)
