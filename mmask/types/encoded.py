"""Encoded: what an encoder made of a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.types.layout import Layout
from mmask.types.plan import MaskPlan

if TYPE_CHECKING:
    import torch

    from mmask.types.scored import Scored


@dataclass(frozen=True, slots=True)
class Encoded:
    """The output of a network for one view.

    state: (B, P + K, D), the last layer's states: P prefix tokens ([CLS], registers) that are no places
        of the layout, then the K places. (T, D) when the view was flat. None for a pure pyramid.
    layout: the layout of the K places; its ``index`` says which positions of the full grid they are.
    prefix: P. pooled: (B, D) when the network defines one.
    taps: name -> tensor, internal states asked for by name (``block.8``, ``block.-1.attention``).
    pyramid: feature maps (B, C, H, W) from fine to coarse, for hierarchical encoders.
    plan: the plan of the view, for networks that keep hidden places (SparK's active cells).
    streams: stream name -> Encoded, for encoders with more than one stream (LXMERT).
    cu_seqlens: (B + 1,) int32 offsets of the samples in a flat state; None when padded. ``layout`` is still
        that of the padded batch.
    """

    layout: Layout
    state: torch.Tensor | None = None
    prefix: int = 0
    pooled: torch.Tensor | None = None
    taps: Mapping[str, torch.Tensor] = field(default_factory=dict)
    pyramid: tuple[torch.Tensor, ...] = ()
    plan: MaskPlan | None = None
    streams: Mapping[str, Encoded] = field(default_factory=dict)
    cu_seqlens: torch.Tensor | None = None

    @property
    def places(self) -> torch.Tensor:
        """(B, K, D): the states of the places, without prefix tokens."""
        if self.state is None:
            raise PlanError("this encoder returned a pyramid or streams, not one sequence of states")
        return self.state[:, self.prefix :] if self.prefix else self.state

    def at(self, scored: Scored) -> torch.Tensor:
        """(S, D): the states at scored positions, also when the states are flat.

        Raises PlanError when places were dropped: a decoder has to put them back first.
        """
        if self.layout.length != scored.layout.length:
            raise PlanError(
                f"{scored.layout.length} places are scored, {self.layout.length} were encoded",
                hint="score the encoded places, or decode to all of them first",
            )
        if self.cu_seqlens is None:
            return scored.take(self.places)
        if scored.index is None:
            raise PlanError("flat states are scored at indexed positions", hint="use Scored.valid(layout)")
        rows = self.layout.flat_rank(scored.index)
        return self.places.index_select(0, rows.to(self.places.device))

    def stream(self, name: str) -> Encoded:
        """The states of one stream."""
        if name not in self.streams:
            raise PlanError(f"no stream '{name}' was encoded; there are {sorted(self.streams)}")
        return self.streams[name]
