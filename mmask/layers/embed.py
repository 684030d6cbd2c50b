"""Embeddings: words, positions and segments, summed, normalised and dropped out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.errors import PlanError, RecipeError, did_you_mean


class Embeddings(nn.Module):
    """``words`` (size, width), ``positions`` (places + place_offset, width), ``types`` (types, width), ``norm``.

    places, types: 0 leaves a table out. The row of ``pad_id`` takes no gradient from look-ups. first_still: nor do the
    first position and the first type, which stay as they were drawn (LXMERT).
    """

    def __init__(
        self, *, size: int, width: int, pad_id: int | None, places: int = 0, place_offset: int = 0, types: int = 0,
        norm: bool = True, eps: float = 1e-12, norm_bias: bool = True, std: float = 0.02, dropout: float = 0.1,
        first_still: bool = False,
    ) -> None:
        super().__init__()
        still = 0 if first_still else None
        self.width, self.place_offset, self.std, self.dropout = width, place_offset, std, dropout
        self.words = nn.Embedding(size, width, padding_idx=pad_id)
        self.positions = nn.Embedding(places + place_offset, width, padding_idx=still) if places else None
        self.types = nn.Embedding(types, width, padding_idx=still) if types else None
        self.norm = nn.LayerNorm(width, eps=eps, bias=norm_bias) if norm else None
        self.reset_parameters()

    @staticmethod
    def of(name: str | None, networks: Mapping[str, Any] | None) -> Embeddings | None:
        """The embeddings of a network built before, None without a name. Raises RecipeError when it has none."""
        if name is None:
            return None
        known = {other: net.embed for other, net in (networks or {}).items() if hasattr(net, "embed")}
        if name not in known:
            raise RecipeError(
                f"share = '{name}': no text encoder of that name stands before it{did_you_mean(name, known)}",
                hint="put the network whose embeddings are shared first",
            )
        return known[name]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, std) cut off at two deviations, as BERT has it."""
        for table in (self.words, self.positions, self.types):
            if table is not None:
                nn.init.trunc_normal_(table.weight, std=self.std, a=-2 * self.std, b=2 * self.std)

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor | None = None) -> Tensor:
        """(T,) ids, positions and types (None: all 0) -> (T, width). Raises PlanError beyond the last position."""
        x = self.words(ids)
        if self.types is not None:
            x = x + (self._first_type() if types is None else self.types(types))
        if self.positions is not None:
            x = x + self.positions(self._rows(positions))
        if self.norm is not None:
            x = self.norm(x)
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def _first_type(self) -> Tensor:
        assert self.types is not None
        return self.types.weight[0] if self.types.padding_idx is None else self.types.weight[0].detach()

    def _rows(self, positions: Tensor) -> Tensor:
        assert self.positions is not None
        places = self.positions.num_embeddings - self.place_offset
        if not positions.is_meta and len(positions) and int(positions.max()) >= places:
            raise PlanError(
                f"a text of {int(positions.max()) + 1} pieces is longer than the {places} places this encoder knows",
                hint="decode shorter texts, or set the encoder's places",
            )
        return positions + self.place_offset
