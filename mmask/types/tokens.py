"""Tokens: the values that lie at the places of a layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.types.layout import Layout

if TYPE_CHECKING:
    import torch

    from mmask.types.scored import Scored


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

    def pack(self) -> Tokens:
        """The same tokens without padding, sample after sample. The layout, and every plan, is unchanged."""
        import torch

        if self.flat:
            return self
        offsets = torch.zeros(self.layout.batch + 1, dtype=torch.int32)
        offsets[1:] = self.layout.lengths().cumsum(0)

        def flatten(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value.flatten(0, 1)[self.layout.flat_index().to(value.device)]

        return Tokens(
            self.layout, flatten(self.values), flatten(self.ids), offsets.to(self.data.device),
            flatten(self.replaced),
        )

    def at(self, scored: Scored) -> torch.Tensor:
        """(S, ...): the values or ids at scored positions, also when the tokens are flat."""
        if not self.flat:
            return scored.take(self.data)
        index = self.layout.flat_index() if scored.index is None else scored.index
        return self.data.index_select(0, self.layout.flat_rank(index).to(self.data.device))

    def samples(self, index: torch.Tensor) -> Tokens:
        """The tokens of samples ``index`` (B',), in that order: matching and its negatives."""
        if self.flat:
            raise PlanError("flat tokens cannot be paired anew", hint="pair them before they are packed")

        def pick(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value[index.to(value.device)]

        return Tokens(
            self.layout.samples(index), pick(self.values), pick(self.ids), replaced=pick(self.replaced)
        )

    def with_data(self, data: torch.Tensor, *, replaced: torch.Tensor | None = None) -> Tokens:
        """The same places with other values (or ids)."""
        replaced = self.replaced if replaced is None else replaced
        if self.values is not None:
            return replace(self, values=data, replaced=replaced)
        return replace(self, ids=data, replaced=replaced)
