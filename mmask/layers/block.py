"""timm's transformer block, run on all places or for some of them only."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import Attention, Mlp
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.layers.gather import take_places
from mmask.layers.linear import linear, product


class Block(TimmBlock):
    """timm's block under timm's names, which also takes what `run_block` takes.

    A module that is called as one (``block(x, keys, fast=True)``), so it can be a unit of its network: computed again
    on the way back, or sharded (`mmask.train.units`). ``block(x)`` alone is timm's own forward pass.
    """

    def forward(  # type: ignore[override]  # timm's takes what its own attention does
        self, x: Tensor, keys: Tensor | None = None, queries: Tensor | None = None, *, fast: bool | None = None,
        **timms: Any,
    ) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, Q, D); see `run_block`. fast: None is timm's own code."""
        if fast is None and keys is None and queries is None:
            return super().forward(x, **timms)
        return run_block(self, x, keys, queries, fast=bool(fast))


def key_bias(valid: Tensor | None, prefix: int, device: torch.device) -> Tensor | None:
    """(B, 1, 1, prefix + N) bool, True at keys that may be looked at; None when nothing is padded.

    valid: (B, N) bool. The prefix tokens are always visible.
    """
    if valid is None:
        return None
    ahead = torch.ones(len(valid), prefix, dtype=torch.bool)
    return torch.cat([ahead, valid.cpu()], dim=1)[:, None, None].to(device, non_blocking=True)


def run_block(
    block: nn.Module, x: Tensor, keys: Tensor | None = None, queries: Tensor | None = None, *,
    fast: bool = True,
) -> Tensor:
    """``block(x)`` of a timm `Block`, with padding hidden from attention and, if asked, some places only.

    x: (B, N, D). keys: as `key_bias` makes it. queries: (B, Q) int64 places whose states are wanted;
    every place is still looked at. fast: use `mmask.layers.linear`. -> (B, N, D), or (B, Q, D): exactly
    the rows a full run has there.
    """
    made: Any = block  # timm's modules, by the names they have there
    wanted = x if queries is None else take_places(x, queries)
    normed = made.norm1(x)
    asking = normed if queries is None else take_places(normed, queries)
    out = wanted + made.drop_path1(made.ls1(_attend(made.attn, normed, asking, keys, fast)))
    return out + made.drop_path2(made.ls2(_feed(made.mlp, made.norm2(out), fast)))


def _feed(mlp: Any, x: Tensor, fast: bool) -> Tensor:
    if type(mlp) is not Mlp:
        return mlp(x)
    x = mlp.norm(mlp.drop1(mlp.act(linear(mlp.fc1, x, fast=fast))))
    return mlp.drop2(linear(mlp.fc2, x, fast=fast))


def _attend(attn: Any, x: Tensor, asking: Tensor, keys: Tensor | None, fast: bool) -> Tensor:
    extras = [getattr(attn, name, None) for name in ("gate", "norm")]  # options of later timm releases
    if type(attn) is not Attention or any(type(part) not in (type(None), nn.Identity) for part in extras):
        raise TypeError(f"run_block knows timm's plain Attention, not this {type(attn).__name__}")
    heads, size = attn.num_heads, attn.head_dim
    if asking is x:
        qkv = linear(attn.qkv, x, fast=fast).unflatten(-1, (3, heads, size))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    else:
        width = heads * size
        bias_q, bias_kv = (None, None) if attn.qkv.bias is None else attn.qkv.bias.split([width, 2 * width])
        weight_q, weight_kv = attn.qkv.weight.split([width, 2 * width])
        q = product(asking, weight_q, bias_q, fast=fast).unflatten(-1, (heads, size)).transpose(1, 2)
        kv = product(x, weight_kv, bias_kv, fast=fast).unflatten(-1, (2, heads, size))
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
    drop = attn.attn_drop.p if attn.training else 0.0
    out = F.scaled_dot_product_attention(
        attn.q_norm(q), attn.k_norm(k), v, attn_mask=keys, dropout_p=drop, scale=attn.scale
    )
    return attn.proj_drop(linear(attn.proj, out.transpose(1, 2).flatten(2), fast=fast))
