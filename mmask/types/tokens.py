"""Tokens: the values that lie at the places of a layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmask.types.layout import Layout

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Tokens:
    """Continuous values or discrete ids, with their layout.

    values: (B, N, D) float, or (T, D) when flat. None for discrete tokens.
    ids: (B, N) int64, (B, N, C) with a codebook axis, or (T,) when flat. None for continuous tokens.
    cu_seqlens: (B + 1,) int32 offsets of the samples in a flat batch; None when padded.
        The layout of flat tokens is still that of the padded batch: plans are made per sample.
    replaced: (B, N) bool or (T,), True where the encoder must put its mask token after embedding
        (a corruption whose site is the embedding); None when nothing is replaced.
    """

    layout: Layout
    values: torch.Tensor | None = None
    ids: torch.Tensor | None = None
    cu_seqlens: torch.Tensor | None = None
    replaced: torch.Tensor | None = None

    @property
    def flat(self) -> bool:
        """Whether padding has been packed away."""
        return self.cu_seqlens is not None

    @property
    def data(self) -> torch.Tensor:
        """The values, or the ids of discrete tokens."""
        data = self.values if self.values is not None else self.ids
        assert data is not None, "tokens carry values or ids"
        return data

    def with_data(self, data: torch.Tensor, *, replaced: torch.Tensor | None = None) -> Tokens:
        """The same places with other values (or ids)."""
        name = "values" if self.values is not None else "ids"
        return replace(self, replaced=replaced if replaced is not None else self.replaced, **{name: data})
