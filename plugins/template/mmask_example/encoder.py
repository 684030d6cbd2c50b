"""Encoder: a small transformer over the stretches it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mmask.api import Encoded, RecipeError, View, sincos


class SignalEncoder(nn.Module):
    """Linear embedding, fixed positions, transformer layers, norm.

    width, depth, heads: of the layers. tokenizer (wired): offers ``grid`` and ``dim``.
    Core heads that are wired to a network read ``width`` and ``prefix`` (tokens before the places).
    """

    prefix = 0
    positions: torch.Tensor

    def __init__(self, *, tokenizer: Any, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise RecipeError(f"width {width} cannot be cut into {heads} heads")
        self.width = width
        self.embed = nn.Linear(tokenizer.dim, width)
        self.register_buffer("positions", sincos(width, tokenizer.grid))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def units(self) -> list[nn.Module]:
        """The layers: what can be computed again on the way back, or sharded, one by one."""
        return list(self.layers)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The states of the view's places: (B, K, width). taps: ``layer.i``, its output."""
        tokens = view.only()
        layout = tokens.layout
        x = self.embed(tokens.values)
        index = layout.index
        x = x + (self.positions if index is None else self.positions[index.to(x.device)])
        absent = None if layout.valid is None else ~layout.valid.to(x.device)
        found: dict[str, torch.Tensor] = {}
        for number, layer in enumerate(self.layers):
            x = layer(x, src_key_padding_mask=absent)
            if f"layer.{number}" in taps:
                found[f"layer.{number}"] = x
        x = self.norm(x)
        return Encoded(layout, x, pooled=x.mean(1), taps=found)
