"""Seeds of the model side: initialisation, dropout and drop path. Nothing of them has to be stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mmask.keyed import fold, seeded_scope


@contextmanager
def init_scope(seed: int) -> Iterator[None]:
    """Inside, weights are drawn from ``seed`` alone: equal on every rank and in every process."""
    with seeded_scope(fold(seed, "init")):
        yield


def seed_model(seed: int, step: int, micro: int, rank: int) -> None:
    """Reseed torch on all devices for one micro-batch, so that dropout is a function of where it happens."""
    torch.manual_seed(fold(seed, "model", step, micro, rank) & 0x7FFFFFFFFFFFFFFF)
