"""Batch.packs: rows and micro-batches part a packed batch between packs alone."""

from __future__ import annotations

import numpy as np
import pytest

from mmask.errors import PlanError
from mmask.types import Batch


def batch(packs: list[int] | None) -> Batch:
    return Batch({}, np.arange(7, dtype=np.uint64), np.zeros(7, np.int64),
                 packs=None if packs is None else np.array(packs))


def test_rows_keep_packs_whole() -> None:
    cut = batch([0, 2, 5, 7]).rows(2, 7)
    assert cut.packs is not None
    assert cut.packs.tolist() == [0, 3, 5]
    with pytest.raises(PlanError, match="part a pack"):
        batch([0, 2, 5, 7]).rows(1, 7)
    assert batch(None).rows(1, 7).packs is None


def test_micro_batches_hold_equal_numbers_of_packs() -> None:
    packed = batch([0, 2, 3, 4, 7])
    assert [packed.part(i, 2) for i in range(2)] == [slice(0, 3), slice(3, 7)]
    assert [batch(None).part(i, 2) for i in range(2)] == [slice(0, 3), slice(3, 7)]
