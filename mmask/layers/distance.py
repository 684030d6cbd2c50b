"""What attention knows of distance: ALiBi's slopes, sliding windows, rotary tables."""

from __future__ import annotations

from math import floor, log2
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def alibi_slopes(heads: int) -> list[float]:
    """m_h of each head (Press et al. 2022): 2^(-8 k / n) for k = 1 ... n where n is a power of two. Otherwise those of
    the largest power p below, then every second one of 2p."""
    whole = 2 ** floor(log2(heads))
    slopes = [2.0 ** (-8.0 * k / whole) for k in range(1, whole + 1)]
    if whole < heads:
        slopes += alibi_slopes(2 * whole)[0::2][: heads - whole]
    return slopes


def alibi(slopes: Sequence[float], queries: Tensor, keys: Tensor, dtype: torch.dtype) -> Tensor:
    """-m_h |i - j|, symmetric and zero for i = j. queries (..., Q), keys (..., K) positions -> (..., H, Q, K)."""
    apart = (queries[..., :, None] - keys[..., None, :]).abs().to(dtype)
    return apart[..., None, :, :] * -torch.tensor(slopes, dtype=dtype, device=apart.device)[:, None, None]


def within(queries: Tensor, keys: Tensor, radius: int) -> Tensor:
    """|i - j| <= radius. queries (..., Q), keys (..., K) positions -> (..., Q, K) bool."""
    return (queries[..., :, None] - keys[..., None, :]).abs() <= radius


def rotary_tables(positions: Tensor, size: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * theta^(-2i / size) (Su et al. 2021). positions (T,) -> each (T, size / 2).

    The rates are computed in float32, as published checkpoints were trained with, the angles in ``dtype`` but never
    below float32.
    """
    rates = 1.0 / theta ** (torch.arange(0, size, 2, device=positions.device).float() / size)
    wide = torch.promote_types(dtype, torch.float32)
    angles = positions.to(wide)[:, None] * rates.to(wide)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (i, i + size / 2) of channels by its angle. x: (T, ..., size); tables of `rotary_tables`."""
    cos, sin = (table.view(len(table), *(1,) * (x.ndim - 2), -1) for table in tables)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
