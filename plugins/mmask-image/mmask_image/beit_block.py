"""timm's Beit block run with padding, its initialisation, and positions with the row first."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any, Literal

import torch
from timm.models.beit import Block
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import sincos

Start = Literal["rescaled", "xavier"]


def row_sincos(width: int, grid: tuple[int, ...], *, prefix: int = 0) -> Tensor:
    """Fixed positions with the row in the first half of the channels, the order of CAE's reference.

    MAE's order is the opposite; a table in the wrong one fits every shape. -> (prefix + N, width).
    """
    table = sincos(width, grid, prefix=prefix)
    column, row = table.chunk(2, dim=1)
    return torch.cat([row, column], dim=1)


class BeitBlock(Block):
    """timm's block under timm's names, which also takes a bias of attention for each sample."""

    def forward(  # type: ignore[override]  # timm's takes one bias for all samples
        self, x: Tensor, bias: Tensor | None = None, *, ours: bool = False, **timms: Any
    ) -> Tensor:
        """(B, N, D) -> (B, N, D). ours: as `run_beit_block`; otherwise timm's own forward pass."""
        return run_beit_block(self, x, bias) if ours else super().forward(x, **timms)


def run_beit_block(block: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """``block(x)`` with a bias of attention for each sample. x: (B, N, D) -> (B, N, D).

    bias: what `scaled_dot_product_attention` takes as its mask, (B or 1, heads or 1, N or 1, N) float to add, or
    bool, True at keys that may be looked at; None for plain attention.
    """
    made: Any = block  # timm's modules, by the names they have there
    one, two = (1.0, 1.0) if made.gamma_1 is None else (made.gamma_1, made.gamma_2)
    x = x + made.drop_path1(one * _attend(made.attn, made.norm1(x), bias))
    return x + made.drop_path2(two * made.mlp(made.norm2(x)))


def _attend(attn: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    shift = None if attn.q_bias is None else torch.cat([attn.q_bias, attn.k_bias.to(attn.q_bias), attn.v_bias])
    qkv = F.linear(x, attn.qkv.weight, shift).unflatten(-1, (3, attn.num_heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    if bias is not None and bias.is_floating_point():
        bias = bias.to(q.dtype)
    drop = attn.attn_drop.p if attn.training else 0.0
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=drop)
    return attn.proj_drop(attn.proj(out.transpose(1, 2).flatten(2)))


def truncated(value: Tensor, std: float = 0.02) -> None:
    """N(0, std) cut off at one deviation, in place: what BEiT and its descendants call trunc_normal."""
    nn.init.trunc_normal_(value, std=std, a=-std, b=std)


@torch.no_grad()
def initialise(module: nn.Module, blocks: Iterable[Any], start: Start) -> None:
    """Every linear layer of ``module`` in place, biases zero; ``rescaled`` divides the two output matrices of
    block i = 1, 2, ... by sqrt(2 i), so that the variance of the residual stream does not grow with depth."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            if start == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            else:
                truncated(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if start == "rescaled":
        for number, block in enumerate(blocks, start=1):
            block.attn.proj.weight.div_(sqrt(2 * number))
            block.mlp.fc2.weight.div_(sqrt(2 * number))
