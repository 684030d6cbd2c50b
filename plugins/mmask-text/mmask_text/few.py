"""Few: the places of a view whose last states are asked for: hidden ones and the first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmask.api import Layout, Segments, View


@dataclass(frozen=True)
class Few:
    """rows: (S,) packed rows. layout: of the (B, K) places, by their ``index``. at: (S,) where each row lies in it."""

    rows: Tensor
    layout: Layout
    at: Tensor

    @staticmethod
    def of(view: View, segments: Segments) -> Few | None:
        """None for a view without a plan, and for a flat one, whose states stay as they are."""
        tokens = view.only()
        if len(view.plans) != 1 or tokens.flat:
            return None
        layout = tokens.layout
        chosen = view.plan().hidden.cpu().clone()
        chosen[:, 0] = True
        if layout.valid is not None:
            chosen &= layout.valid.cpu()
        counts = chosen.sum(1)
        order = torch.argsort((~chosen).to(torch.int8), dim=1, stable=True)[:, : int(counts.max())]
        kept = torch.arange(order.shape[1]) < counts[:, None]
        rank = chosen.cumsum(1) - 1
        packed = torch.arange(chosen.numel()) if segments.rows is None else segments.rows.cpu()
        rows = chosen.flatten()[packed].nonzero().squeeze(1)
        sample, place = packed[rows] // layout.length, packed[rows] % layout.length
        at = sample * order.shape[1] + rank[sample, place]
        device = segments.positions.device
        return Few(rows.to(device), layout.take(order, kept), at.to(device))

    def put(self, states: Tensor) -> Tensor:
        """(S, D) -> (B, K, D), zero where a sample has fewer places than another."""
        batch, places = self.layout.batch, self.layout.length
        return states.new_zeros(batch * places, states.shape[1]).index_copy(0, self.at, states).view(batch, places, -1)
