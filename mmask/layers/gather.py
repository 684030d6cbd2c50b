"""Taking places out of padded or flat sequences, and putting them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def flat_index(index: torch.Tensor, length: int) -> torch.Tensor:
    """Row indices into the flattened (B·length) places. index: (B, K) int64 -> (B·K,) int64."""
    import torch

    start = torch.arange(index.shape[0], device=index.device) * length
    return (index + start[:, None]).flatten()


def take_places(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``values[b, index[b, k]]`` as one row copy. values: (B, N, ...), index: (B, K) int64 -> (B, K, ...)."""
    rows = flat_index(index, values.shape[1]).to(values.device, non_blocking=True)
    return values.flatten(0, 1).index_select(0, rows).view(*index.shape, *values.shape[2:])


def fill_index(index: torch.Tensor, total: int, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Where each of ``total`` positions finds its row, the inverse of taking ``index``. -> (B, total) int64.

    index: (B, K) int64 positions that are present, as `Layout.index` has them. valid: (B, K) bool, False
    where ``index`` is padding. The answer addresses the flattened (B·K) rows; an absent position gets B·K,
    the row after them all, where a caller puts its placeholder. Runs on the device of ``index``.
    """
    import torch

    batch, kept = index.shape
    rows = torch.arange(batch * kept, device=index.device).view(batch, kept)
    places = index
    if valid is not None:  # padding writes into a column of its own, cut off below
        places = torch.where(valid.to(index.device), index, torch.full_like(index, total))
    where = torch.full((batch, total + 1), batch * kept, dtype=torch.int64, device=index.device)
    where.scatter_(1, places, rows)
    return where[:, :total]


def fill(rows: torch.Tensor, where: torch.Tensor, placeholder: torch.Tensor) -> torch.Tensor:
    """Rows at their positions and a placeholder everywhere else, as one row copy.

    rows: (B, K, D). where: (B, N) from `fill_index`. placeholder: (D,) -> (B, N, D).
    """
    import torch

    table = torch.cat([rows.flatten(0, 1), placeholder.to(rows.dtype).view(1, -1)])
    index = where.flatten().to(rows.device, non_blocking=True)
    return table.index_select(0, index).view(*where.shape, rows.shape[-1])
