"""ALiBi's slopes, windows and rotations against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from mmask.layers.distance import alibi, alibi_slopes, rotary_tables, rotate, within


def test_slopes_of_powers_of_two_are_geometric() -> None:
    assert alibi_slopes(8) == pytest.approx([2.0**-k for k in range(1, 9)])
    assert alibi_slopes(16) == pytest.approx([2.0 ** (-k / 2) for k in range(1, 17)])


def test_slopes_in_between_take_every_second_of_the_next_power() -> None:
    assert alibi_slopes(12) == pytest.approx([2.0**-k for k in range(1, 9)] + [2.0 ** (-k / 2) for k in (1, 3, 5, 7)])
    assert alibi_slopes(1) == [2.0**-8]


def test_alibi_is_symmetric_with_a_zero_diagonal() -> None:
    places = torch.arange(7)
    bias = alibi(alibi_slopes(12), places, places, torch.float64)
    assert bias.shape == (12, 7, 7)
    assert torch.equal(bias, bias.transpose(1, 2))
    assert not bias.diagonal(dim1=1, dim2=2).any()
    assert float(bias[3, 1, 6]) == pytest.approx(-5 * 2.0**-4)


def test_a_window_is_a_distance() -> None:
    assert within(torch.arange(4), torch.arange(4), 1).long().tolist() == [
        [1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1],
    ]


def test_rotation_depends_on_the_difference_of_positions_only() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 8, generator=generator, dtype=torch.float64)
    products = []
    for shift in (0, 11):
        one = rotate(q, rotary_tables(torch.tensor([3 + shift]), 8, 100.0, torch.float64))
        two = rotate(k, rotary_tables(torch.tensor([7 + shift]), 8, 100.0, torch.float64))
        products.append(float((one * two).sum()))
    assert products[0] == pytest.approx(products[1], rel=1e-6)  # the rates themselves are float32
    cos, sin = rotary_tables(torch.tensor([2]), 4, 100.0, torch.float64)
    assert cos[0].tolist() == pytest.approx([math.cos(2), math.cos(0.2)], rel=1e-6)
    assert rotate(torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64), (cos, sin))[0].tolist() == pytest.approx(
        [math.cos(2), -math.sin(0.2), math.sin(2), math.cos(0.2)], rel=1e-6
    )
