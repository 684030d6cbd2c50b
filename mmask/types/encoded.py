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

    def stream(self, name: str) -> Encoded:
        """The states of one stream."""
        if name not in self.streams:
            raise PlanError(f"no stream '{name}' was encoded; there are {sorted(self.streams)}")
        return self.streams[name]
