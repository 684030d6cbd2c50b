"""Second segments of neighbours are exchanged, by the key of their pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmask.api import Keys, PlanError
from mmask_text.pair import exchange


def batch(rows: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, Keys]:
    """Row r: first segment r00 of 2 + r % 3 tokens, second segment of 1 + r % 4, padded to 8."""
    fields = {name: torch.zeros(rows, 8, dtype=torch.int64) for name in ("text", "text.type", "text.word")}
    length = torch.zeros(rows, dtype=torch.int64)
    for row in range(rows):
        first, second = 2 + row % 3, 1 + row % 4
        length[row] = first + second
        fields["text"][row, : first + second] = 100 * row + torch.arange(first + second) + 1
        fields["text.type"][row, first : first + second] = 1
        fields["text.word"][row, : first + second] = torch.arange(first + second)
        fields["text.word"][row, 0] = -1
    return fields, length, Keys(3, np.arange(rows, dtype=np.uint64), np.zeros(rows, np.int64), 0)


def rows_of(fields: dict[str, torch.Tensor], length: torch.Tensor, kind: int) -> list[list[int]]:
    out = []
    for row in range(len(length)):
        inside = slice(0, int(length[row]))
        out.append(fields["text"][row, inside][fields["text.type"][row, inside] == kind].tolist())
    return out


def test_neighbours_keep_or_exchange_and_every_token_stays() -> None:
    fields, length, keys = batch(64)
    made, total, follows = exchange(fields, length, keys)
    first, second = rows_of(fields, length, 0), rows_of(fields, length, 1)
    assert rows_of(made, total, 0) == first
    now = rows_of(made, total, 1)
    for row in range(64):
        partner = row ^ 1
        assert now[row] == (second[row] if follows[row] else second[partner])
        assert follows[row] == follows[partner]
    assert 16 < int(follows.sum()) < 48
    assert int(total.sum()) == int(length.sum())


def test_words_of_the_second_segment_go_on_after_the_first() -> None:
    fields, length, keys = batch(16)
    made, total, _ = exchange(fields, length, keys)
    for row in range(16):
        word = made["text.word"][row, : int(total[row])]
        assert word[0] == -1 and word[1:].diff().eq(1).all() and word[1] == 1


def test_the_draw_is_the_pairs_own() -> None:
    fields, length, keys = batch(16)
    follows = exchange(fields, length, keys)[2]
    part: dict[str, Any] = {name: value[6:10] for name, value in fields.items()}
    some = Keys(3, np.arange(6, 10, dtype=np.uint64), np.zeros(4, np.int64), 0)
    assert exchange(part, length[6:10], some)[2].tolist() == follows[6:10].tolist()


def test_an_odd_batch_is_refused() -> None:
    fields, length, _ = batch(4)
    keys = Keys(3, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64), 0)
    with pytest.raises(PlanError, match="3 rows are no pairs"):
        exchange({name: value[:3] for name, value in fields.items()}, length[:3], keys)
