"""Building a recipe's model, vocabularies without a file, and batches of ids."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmask import testing
from mmask.api import Batch, MaskedModel


@pytest.fixture(scope="session")
def build() -> Callable[..., MaskedModel]:
    return testing.build


@pytest.fixture(scope="session")
def words() -> Callable[..., Any]:
    """A vocabulary of some size without a file: ids 0 to 4 are [PAD], [UNK], [CLS], [SEP], [MASK]."""

    def make(size: int = 50, pad_id: int | None = 0) -> Any:
        return SimpleNamespace(
            size=size, pad_id=pad_id, cls_id=2, sep_id=3, mask_id=4, special_ids=(0, 1, 2, 3, 4), spec="test"
        )

    return make


@pytest.fixture(scope="session")
def texts() -> Callable[..., Batch]:
    """Rows of ids, [CLS] ... [SEP], of the lengths given."""

    def make(*lengths: int, size: int = 50, longest: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(sum(lengths))
        width = max(*lengths, longest)
        ids = torch.randint(5, size, (len(lengths), width), generator=generator)
        ids[:, 0] = 2
        for row, length in enumerate(lengths):
            ids[row, length - 1] = 3
            ids[row, length:] = 0
        fields = {"text": ids, "text.length": torch.tensor(lengths)}
        return Batch(fields, np.arange(len(lengths), dtype=np.uint64), np.zeros(len(lengths), np.int64))

    return make
