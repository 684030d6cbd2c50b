"""A timm transformer block, run on all places or for some of them only."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn import functional as F

from mmask.layers.gather import take_places

__all__ = ["Block", "key_bias", "run_block"]


def key_bias(valid: Tensor | None, prefix: int, device: torch.device) -> Tensor | None:
    """(B, 1, 1, prefix + N) bool, True at keys that may be looked at; None when nothing is padded.

    valid: (B, N) bool. The prefix tokens are always visible.
    """
    if valid is None:
        return None
    ahead = torch.ones(len(valid), prefix, dtype=torch.bool)
    return torch.cat([ahead, valid.cpu()], dim=1)[:, None, None].to(device, non_blocking=True)


def run_block(block: Block, x: Tensor, keys: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
    """``block(x)``, with padding hidden from attention and, if asked, the answer at some places only.

    x: (B, N, D). keys: as `key_bias` makes it. queries: (B, Q) int64 places whose states are wanted;
    every place is still looked at. -> (B, N, D), or (B, Q, D): exactly the rows a full run has there.
    """
    wanted = x if queries is None else take_places(x, queries)
    normed = block.norm1(x)
    asking = normed if queries is None else take_places(normed, queries)
    out = wanted + block.drop_path1(block.ls1(_attend(block.attn, normed, asking, keys)))
    return out + block.drop_path2(block.ls2(block.mlp(block.norm2(out))))


def _attend(attn: torch.nn.Module, x: Tensor, asking: Tensor, keys: Tensor | None) -> Tensor:
    heads, size = attn.num_heads, attn.head_dim
    if asking is x:
        qkv = attn.qkv(x).unflatten(-1, (3, heads, size))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    else:
        width = heads * size
        bias_q, bias_kv = (None, None) if attn.qkv.bias is None else attn.qkv.bias.split([width, 2 * width])
        weight_q, weight_kv = attn.qkv.weight.split([width, 2 * width])
        q = F.linear(asking, weight_q, bias_q).unflatten(-1, (heads, size)).transpose(1, 2)
        kv = F.linear(x, weight_kv, bias_kv).unflatten(-1, (2, heads, size))
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
    drop = attn.attn_drop.p if attn.training else 0.0
    out = F.scaled_dot_product_attention(
        attn.q_norm(q), attn.k_norm(k), v, attn_mask=keys, dropout_p=drop, scale=attn.scale
    )
    return attn.proj_drop(attn.proj(out.transpose(1, 2).flatten(2)))
