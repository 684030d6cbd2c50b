"""Building a recipe's model, and batches of pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mmask import testing
from mmask.api import Batch, MaskedModel


@pytest.fixture(scope="session")
def build() -> Callable[..., MaskedModel]:
    return testing.build


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Batch]:
    def make(batch: int, channels: int, high: int, wide: int, dtype: torch.dtype = torch.float64) -> Batch:
        generator = torch.Generator().manual_seed(batch + high)
        image = torch.randint(0, 256, (batch, channels, high, wide), generator=generator, dtype=torch.uint8)
        if dtype != torch.uint8:
            image = image.to(dtype) / 128 - 1
        return Batch({"image": image}, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))

    return make
