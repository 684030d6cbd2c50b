"""VideoEncoder: a plain ViT over the cuboids of a clip that it is given, fixed positions along the line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import (
    Block,
    Encoded,
    PlanError,
    RecipeError,
    Tokens,
    View,
    did_you_mean,
    key_bias,
    product,
    sinusoid,
)


class VideoEncoder(nn.Module):
    """ViT blocks (Dosovitskiy et al. 2020) on the kept cuboids, joint attention over space and time, no [CLS]
    (VideoMAE, Tong et al. 2022).

    width, depth, heads, mlp_ratio, qkv_bias: of the blocks. eps: of every LayerNorm. drop_path: rate of the last
    block, rising linearly. norm: a LayerNorm after the last block; without it (the form that is fine-tuned with a
    norm after the pooling) states are the last block's. fast: large products through oneDNN on CPUs where it is
    the faster library; False is the plain twin. tokenizer (wired): offers ``patch``, ``grid`` and ``in_chans``.

    The reference has no bias of keys. A bias of keys shifts all scores of a query alike, so it changes nothing and
    its gradient is nothing but rounding; here it exists, as timm's blocks have it, and starts at zero.
    """

    positions: Tensor

    def __init__(
        self, *, width: int, depth: int, heads: int, tokenizer: Any, mlp_ratio: float = 4.0, eps: float = 1e-6,
        qkv_bias: bool = True, drop_path: float = 0.0, norm: bool = True, fast: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise RecipeError(f"a ViT of width {width} cannot have {heads} heads")
        self.width, self.prefix, self.fast = width, 0, fast
        self.grid, self.patch, self.in_chans = tuple(tokenizer.grid), tuple(tokenizer.patch), int(tokenizer.in_chans)
        self.patch_embed = nn.Conv3d(self.in_chans, width, self.patch, self.patch)
        places = self.grid[0] * self.grid[1] * self.grid[2]
        self.register_buffer("positions", sinusoid(width, places)[None], persistent=False)
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        layer_norm: Any = partial(nn.LayerNorm, eps=eps)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=qkv_bias, drop_path=rate, norm_layer=layer_norm) for rate in rates
        )
        self.norm = layer_norm(width) if norm else nn.Identity()
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The reference's initialisation: Xavier-uniform matrices, zero biases."""
        nn.init.xavier_uniform_(self.patch_embed.weight.view(self.width, -1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def units(self) -> list[nn.Module]:
        """Its blocks."""
        return list(self.blocks)

    def sequence(self, tokens: Tokens) -> Tensor:
        """(B, K, width): embedded cuboids with their positions."""
        layout = tokens.layout
        if tokens.values is None or tokens.flat:
            raise PlanError("this encoder takes padded cuboids with values, not ids and not a flat batch")
        if layout.positions != self.positions.shape[1]:
            raise PlanError(f"an encoder for grid {self.grid} got a layout of {layout.positions} positions")
        conv = self.patch_embed
        weight = conv.weight.permute(0, 2, 3, 4, 1).reshape(self.width, -1)  # pixels lie (time, row, column, channel)
        x = product(tokens.values.to(weight.dtype), weight, conv.bias, fast=self.fast)
        table = self.positions.to(x.dtype)
        if layout.index is None:
            return x + table
        rows = layout.index.flatten().to(table.device, non_blocking=True)
        return x + table[0].index_select(0, rows).view_as(x)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The states of the view's cuboids.

        taps: ``block.i`` for the (B, K, width) output of block i, negative counted from the end. ``pooled`` is the
        mean over the places, made in evaluation mode only, since no loss reads it.
        """
        names = {f"block.{i}": i % len(self.blocks) for i in range(-len(self.blocks), len(self.blocks))}
        unknown = [tap for tap in taps if tap not in names]
        if unknown:
            raise PlanError(f"no tap '{unknown[0]}'{did_you_mean(unknown[0], names)}",
                            hint=f"taps are block.0 to block.{len(self.blocks) - 1}, or block.-1 from the end")
        if view.visibility is not None and not all(view.visible(layer).full for layer in range(len(self.blocks))):
            raise PlanError("this encoder lets every cuboid see every other; the view restricts that")
        tokens = view.only()
        x, layout = self.sequence(tokens), tokens.layout
        keys = key_bias(layout.valid, 0, x.device)
        found: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks):
            x = block(x, keys, fast=self.fast)
            found |= {tap: x for tap in taps if names[tap] == number}
        x = self.norm(x)
        return Encoded(layout, x, 0, None if self.training else _mean(x, layout.valid), found)


def _mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """(B, D): the mean over valid places."""
    if valid is None:
        return x.mean(1)
    share = valid.to(x.device, x.dtype) / valid.sum(1, keepdim=True).clamp_min(1).to(x.device)
    return (x * share[:, :, None]).sum(1)
