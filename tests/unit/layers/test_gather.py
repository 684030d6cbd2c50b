"""Taking places and putting them back."""

from __future__ import annotations

import torch

from mmask.layers.gather import fill, fill_index, take_places


def test_taking_is_indexing_by_row():
    values, index = torch.randn(3, 7, 2, 4), torch.stack([torch.randperm(7)[:4] for _ in range(3)])
    want = torch.stack([values[b, index[b]] for b in range(3)])
    assert torch.equal(take_places(values, index), want)


def test_filling_undoes_taking_and_puts_the_placeholder_elsewhere():
    values, index = torch.randn(3, 7, 4), torch.stack([torch.randperm(7)[:4] for _ in range(3)])
    token = torch.full((4,), 9.0)
    back = fill(take_places(values, index), fill_index(index, 7), token)
    for b in range(3):
        for n in range(7):
            assert torch.equal(back[b, n], values[b, n] if n in index[b].tolist() else token)


def test_padding_of_a_ragged_index_is_not_put_back():
    index = torch.tensor([[2, 0, 0], [0, 0, 0]])
    valid = torch.tensor([[True, True, False], [False, False, False]])
    assert fill_index(index, 4, valid).tolist() == [[1, 6, 0, 6], [6, 6, 6, 6]]


def test_gradients_of_filling_are_those_of_writing_in_place():
    rows = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    token = torch.randn(5, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[3, 1, 0], [2, 3, 4]])
    weight = torch.randn(2, 6, 5, dtype=torch.float64)
    (fill(rows, fill_index(index, 6), token) * weight).sum().backward()
    assert torch.equal(rows.grad, torch.stack([weight[b, index[b]] for b in range(2)]))
    absent = torch.ones(2, 6, 1, dtype=torch.float64)
    for b in range(2):
        absent[b, index[b]] = 0
    assert (token.grad - (weight * absent).sum((0, 1))).abs().max() < 1e-12
