"""TransformerDecoder: a light transformer that fills the hidden places in and predicts there (MAE)."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmask.errors import PlanError, RecipeError
from mmask.layers.block import Block, key_bias
from mmask.layers.gather import fill, fill_index
from mmask.layers.linear import linear
from mmask.layers.positions import sincos, sinusoid
from mmask.types import Encoded, Layout, Prediction, Scored
from mmask.types.plan import ragged_index


class TransformerDecoder(nn.Module):
    """Linear to its own width, one learned mask token at every missing place, fixed positions, blocks,
    norm, linear (He et al. 2021, section 3).

    width, depth, heads, mlp_ratio, qkv_bias, eps: of the blocks; eps is that of every LayerNorm.
    positions: ``grid``, sine-cosine of each axis (MAE); ``line``, of the place's number in the sequence
        (VideoMAE). embed_bias: whether the first linear has a bias. last_eps: eps of the last norm alone.
    lean: compute the last block, the norm and the output layer only for scored places, which changes no
        value. False runs them everywhere and selects afterwards: the plain twin.
    fast: large products through oneDNN on CPUs where it is the faster library; False is the plain twin.
    network (wired): offers ``width`` and ``prefix``. tokenizer (wired): offers ``grid``. target (wired):
        offers ``dim``, the number of values predicted at each place.

    Takes an `Encoded` of some places of a layout, and prefix tokens, which get positions of zeros; predicts
    at the scored places of the full layout.
    """

    positions: Tensor

    def __init__(
        self, *, network: Any, tokenizer: Any, target: Any, width: int = 512, depth: int = 8, heads: int = 16,
        mlp_ratio: float = 4.0, qkv_bias: bool = True, eps: float = 1e-6,
        positions: Literal["grid", "line"] = "grid", embed_bias: bool = True, last_eps: float | None = None,
        lean: bool = True, fast: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise RecipeError(f"a decoder of width {width} cannot have {heads} heads")
        if depth < 1 or not getattr(target, "dim", None):
            raise RecipeError(f"a decoder needs a block (depth={depth}) and a target of fixed size")
        norm = partial(nn.LayerNorm, eps=eps)
        self.prefix, self.grid, self.lean = int(network.prefix), tuple(tokenizer.grid), lean
        self.fast = fast
        self.embed = nn.Linear(network.width, width, bias=embed_bias)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", self._table(positions, width)[None])
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=qkv_bias, norm_layer=norm)  # type: ignore[arg-type]  # timm calls it
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps if last_eps is None else last_eps)
        self.pred = nn.Linear(width, target.dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The reference's initialisation: Xavier-uniform matrices, zero biases, mask token N(0, .02)."""
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def units(self) -> list[nn.Module]:
        """Its blocks."""
        return list(self.blocks)

    def _table(self, kind: str, width: int) -> Tensor:
        """(prefix + N, width)."""
        if kind == "grid":
            return sincos(width, self.grid, prefix=self.prefix)
        if kind != "line":
            raise RecipeError(f"positions = '{kind}' is unknown; there are grid and line")
        return torch.cat([torch.zeros(self.prefix, width), sinusoid(width, prod(self.grid))])

    def sequence(self, encoded: Encoded, layout: Layout) -> Tensor:
        """(B, prefix + N, width): what the blocks see, mask tokens and positions in place.

        layout: the full layout, before places were dropped. Raises PlanError when it is not the grid this
        decoder was built for.
        """
        if encoded.state is None or encoded.prefix != self.prefix:
            raise PlanError(f"this decoder takes one sequence with {self.prefix} prefix tokens")
        if self.positions.shape[1] != self.prefix + layout.positions:
            raise PlanError(f"a decoder for grid {self.grid} got a layout of {layout.positions} positions")
        present = encoded.layout.index
        if present is None:
            present = torch.arange(encoded.layout.length).expand(encoded.layout.batch, -1)
        ahead = torch.arange(self.prefix).expand(len(present), -1)
        valid = encoded.layout.valid
        if valid is not None:
            valid = torch.cat([torch.ones_like(ahead, dtype=torch.bool), valid.cpu()], dim=1)
        # The prefix takes the first positions of the sequence, the places follow.
        where = fill_index(
            torch.cat([ahead, present.cpu() + self.prefix], dim=1), self.prefix + layout.length, valid
        )
        x = linear(self.embed, encoded.state, fast=self.fast)
        return fill(x, where, self.mask_token) + self.positions

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim), one row for each scored place of the full layout."""
        layout = scored.layout
        x = self.sequence(encoded, layout)
        keys = key_bias(layout.valid, self.prefix, x.device)
        for block in self.blocks[:-1]:
            x = block(x, keys, fast=self.fast)
        x = self._last(x, keys, scored)
        return Prediction(linear(self.pred, self.norm(x), fast=self.fast), scored)

    def _last(self, x: Tensor, keys: Tensor | None, scored: Scored) -> Tensor:
        """The last block's states at scored places, (S, width)."""
        layout, last = scored.layout, self.blocks[-1]
        if scored.index is None:
            return last(x, keys, fast=self.fast)[:, self.prefix :].flatten(0, 1)
        if not self.lean or len(scored.index) == 0:
            rows = scored.rows() * (self.prefix + layout.length) + self.prefix + scored.index % layout.length
            full = last(x, keys, fast=self.fast)
            return full.flatten(0, 1).index_select(0, rows.to(x.device))
        chosen = torch.zeros(layout.batch * layout.length, dtype=torch.bool)
        chosen[scored.index.cpu()] = True
        queries, counts = ragged_index(chosen.view(layout.batch, layout.length))
        out = last(x, keys, queries + self.prefix, fast=self.fast)
        if counts is None:
            return out.flatten(0, 1)
        slots = torch.arange(queries.shape[1])[None] < counts[:, None]
        return out.flatten(0, 1).index_select(0, slots.flatten().nonzero().squeeze(1).to(x.device))
