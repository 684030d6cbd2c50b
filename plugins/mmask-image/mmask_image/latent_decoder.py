"""LatentDecoder: from predicted latents of hidden patches to what is asked of them (CAE's decoder)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models.beit import Block
from torch import Tensor, nn

from mmask.api import Encoded, PlanError, Prediction, RecipeError, Scored, key_bias, rows_at
from mmask_image.beit_block import Start, initialise, row_sincos, run_beit_block


class LatentDecoder(nn.Module):
    """Self-attention among hidden places only, norm, linear (Chen et al. 2022, section 3.1).

    The visible patches never enter: what it knows of the picture went through the predicted latents. Positions
    are added again. depth, heads, mlp_ratio, eps, qkv_bias: of the blocks, which are as wide as the network's
    states. layer_scale, drop_path, start: as `BeitEncoder` has them.
    network (wired): offers ``width``. tokenizer (wired): offers ``grid``. target (wired): offers ``dim``, the
    classes of discrete ids or the values of a patch.
    """

    positions: Tensor

    def __init__(
        self, *, network: Any, tokenizer: Any, target: Any, depth: int = 4, heads: int = 12,
        mlp_ratio: float = 4.0, eps: float = 1e-6, qkv_bias: bool = True, layer_scale: float = 0.1,
        drop_path: float = 0.0, start: Start = "xavier",
    ) -> None:
        super().__init__()
        width = int(network.width)
        if width % heads:
            raise RecipeError(f"a decoder of width {width} cannot have {heads} heads")
        if not getattr(target, "dim", None):
            raise RecipeError("a decoder needs a target that says how many values or classes a place has")
        norm = partial(nn.LayerNorm, eps=eps)
        self.grid, self.start = tuple(tokenizer.grid), start
        self.register_buffer("positions", row_sincos(width, self.grid)[None])
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(
                width, heads, qkv_bias=qkv_bias, mlp_ratio=mlp_ratio, drop_path=rate,
                init_values=layer_scale or None, norm_layer=norm,
            )
            for rate in rates
        )
        self.norm = norm(width)
        self.pred = nn.Linear(width, target.dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the reference, see `mmask_image.beit_block.initialise`."""
        initialise(self, self.blocks, self.start)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim) at scored places, all of which must be among the encoded ones."""
        layout, x = encoded.layout, encoded.places
        if layout.positions != self.positions.shape[1]:
            raise PlanError(f"a decoder for grid {self.grid} was given {layout.positions} positions")
        table = self.positions.to(x.dtype)
        x = x + (table if layout.index is None else table[0][layout.index.to(table.device)])
        keys = key_bias(layout.valid, 0, x.device)
        for block in self.blocks:
            x = run_beit_block(block, x, keys)
        rows, x = rows_at(layout, scored), x.flatten(0, 1)
        if rows is not None:
            x = x.index_select(0, rows.to(x.device, non_blocking=True))
        return Prediction(self.pred(self.norm(x)), scored)
