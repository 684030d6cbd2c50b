"""Attention inside the samples of a packed batch: blocks of like length, and the plain twin over padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.layers.distance import alibi, within
from mmask.layers.segments import Group, Segments, gather, spread


@dataclass(frozen=True)
class Rule:
    """What a layer's attention may see inside a sample, and how distance counts.

    radius: |i - j| <= radius; None sees all. slopes: ALiBi's, one a head; None adds nothing. causal: only j <= i.
    allowed: (B or 1, N, N) bool of the padded batch, whatever else a view asks for; it takes the dense way.
    """

    radius: int | None = None
    slopes: tuple[float, ...] | None = None
    causal: bool = False
    allowed: Tensor | None = None


def attend(qkv: Tensor, segments: Segments, rule: Rule, *, dropout: float = 0.0) -> Tensor:
    """softmax(q k / sqrt(size) + bias) v in each sample alone. qkv: (T, 3, H, size) -> (T, H * size).

    Padding is neither computed nor seen. A plain twin (`Segments.padded`), a view with rules of its own, and
    positions with holes under a rule of distance take the dense way over padding; the rest goes in blocks.
    """
    distant = rule.radius is not None or rule.slopes is not None
    if segments.padded or rule.allowed is not None or (distant and not segments.regular):
        shares, values = dense_shares(qkv, segments, rule)
        shares = F.dropout(shares, dropout) if dropout else shares
        return segments.take((shares @ values).transpose(1, 2).flatten(2))
    if qkv.is_cuda and rule.slopes is None and not dropout and qkv.dtype in (torch.bfloat16, torch.float16):
        return _varlen(qkv, segments, rule)
    groups = segments.groups(qkv.shape[2] * qkv.shape[3])
    parts = qkv.split([group.rows for group in groups])
    mixed = [_block(part, group, rule, segments.cache, dropout) for part, group in zip(parts, groups, strict=True)]
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def dense_shares(qkv: Tensor, segments: Segments, rule: Rule) -> tuple[Tensor, Tensor]:
    """The plain twin: attention over the padded batch, written out. -> shares (B, H, N, N), values (B, H, N, size)."""
    q, k, v = segments.put(qkv).permute(2, 0, 3, 1, 4).unbind(0)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    places = _places(segments)
    if rule.slopes is not None:
        scores = scores + alibi(rule.slopes, places, places, scores.dtype)
    return scores.masked_fill(~_dense_rule(segments, rule, places), float("-inf")).softmax(-1), v


def _places(segments: Segments) -> Tensor:
    """(B, N) position of each place; padding has its column."""
    columns = torch.arange(segments.length, device=segments.positions.device).repeat(segments.batch)
    if segments.rows is None:
        columns = segments.positions
    else:
        columns[segments.rows] = segments.positions
    return columns.view(segments.batch, segments.length)


def _dense_rule(segments: Segments, rule: Rule, places: Tensor) -> Tensor:
    """(B, 1, N, N) bool. A place that sees nothing sees itself, so that softmax is defined; it is padding."""
    key = ("dense", rule.radius, rule.causal, None if rule.allowed is None else id(rule.allowed))
    if key not in segments.cache:
        allowed = torch.ones(segments.batch, segments.length, segments.length, dtype=torch.bool, device=places.device)
        if segments.keys is not None:
            allowed &= segments.keys[:, None, :]
        if rule.radius is not None:
            allowed &= within(places, places, rule.radius)
        if rule.causal:
            allowed &= places[:, :, None] >= places[:, None, :]
        if rule.allowed is not None:
            allowed &= rule.allowed
        alone = ~allowed.any(-1, keepdim=True)
        allowed |= alone & torch.eye(segments.length, dtype=torch.bool, device=places.device)
        segments.cache[key] = allowed[:, None]
    return segments.cache[key]


def _block(rows: Tensor, group: Group, rule: Rule, cache: dict[Any, Any], dropout: float) -> Tensor:
    """One call of attention for a group. rows: (rows, 3, H, size) -> (rows, H * size)."""
    places = spread(rows, group).view(group.count, group.longest, *rows.shape[1:])
    q, k, v = places.permute(2, 0, 3, 1, 4).unbind(0)
    if _chunked(group, rule):
        out = _windows(q, k, v, group, rule, cache, dropout)
    else:
        bias = _bias(group, rule, q, cache)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=rule.causal and bias is None
        )
    return gather(out.transpose(1, 2).reshape(group.count * group.longest, -1), group)


def _bias(group: Group, rule: Rule, like: Tensor, cache: dict[Any, Any]) -> Tensor | None:
    """What SDPA adds or forbids, made once for all layers of one rule: (count or 1, H or 1, L, L), or None."""
    key = ("bias", group.start, rule.radius, rule.slopes, rule.causal, like.dtype)
    if key not in cache:
        place = torch.arange(group.longest, device=like.device)
        rules = []
        if rule.radius is not None and group.longest - 1 > rule.radius:
            rules.append(within(place, place, rule.radius)[None, None])
        if group.keys is not None:
            rules.append(group.keys[:, None, None, :])
        if rule.causal and (rules or rule.slopes is not None):
            rules.append((place[:, None] >= place[None, :])[None, None])
        allowed = None
        for one in rules:
            allowed = one if allowed is None else allowed & one
        if allowed is not None and group.keys is not None and rule.radius is not None:
            allowed = allowed | torch.eye(group.longest, dtype=torch.bool, device=like.device)  # padding sees itself
        if rule.slopes is not None:
            added = alibi(rule.slopes, place, place, like.dtype)[None]
            allowed = added if allowed is None else added.masked_fill(~allowed, float("-inf"))
        cache[key] = allowed
    return cache[key]


def _chunked(group: Group, rule: Rule) -> bool:
    """Whether a window is so much shorter than the samples that cutting them into chunks saves work."""
    return rule.radius is not None and rule.slopes is None and not rule.causal and group.longest > 6 * rule.radius


def _windows(
    q: Tensor, k: Tensor, v: Tensor, group: Group, rule: Rule, cache: dict[Any, Any], dropout: float
) -> Tensor:
    """Sliding windows: chunks of 2 r queries, each with its own keys and r more on either side. (count, H, L, size)."""
    radius = rule.radius or 0
    count, heads, length, size = q.shape
    chunk = max(2 * radius, 1)
    chunks = -(-length // chunk)
    behind = chunks * chunk - length

    def cut(x: Tensor) -> Tensor:
        """(count, H, L, size) -> (count * chunks, H, chunk + 2 r, size)."""
        wide = F.pad(x, (0, 0, radius, radius + behind)).unfold(2, chunk + 2 * radius, chunk)
        return wide.permute(0, 2, 1, 4, 3).reshape(count * chunks, heads, chunk + 2 * radius, size)

    asking = F.pad(q, (0, 0, 0, behind)).view(count, heads, chunks, chunk, size).transpose(1, 2).flatten(0, 1)
    key = ("chunks", group.start, radius)
    if key not in cache:
        start = torch.arange(chunks, device=q.device)[:, None] * chunk
        queries = start + torch.arange(chunk, device=q.device)
        keys = start - radius + torch.arange(chunk + 2 * radius, device=q.device)
        there = (keys >= 0) & (keys < length)
        valid = there[None].expand(count, -1, -1)
        if group.keys is not None:
            valid = valid & group.keys[:, keys.clamp(0, length - 1).flatten()].view(count, *keys.shape)
        itself = queries[:, :, None] == keys[:, None, :]
        allowed = (within(queries, keys, radius) & valid[:, :, None, :]) | itself
        cache[key] = allowed.reshape(count * chunks, 1, chunk, chunk + 2 * radius)
    out = F.scaled_dot_product_attention(asking, cut(k), cut(v), attn_mask=cache[key], dropout_p=dropout)
    return out.view(count, chunks, heads, chunk, size).transpose(1, 2).reshape(count, heads, -1, size)[:, :, :length]


def _varlen(qkv: Tensor, segments: Segments, rule: Rule) -> Tensor:
    """Flash attention over offsets, on a GPU in half precision."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = qkv.unbind(1)
    offsets, longest = segments.offsets(), max(segments.lengths)
    reach = -1 if rule.radius is None else rule.radius
    out = varlen_attn(q, k, v, offsets, offsets, longest, longest, window_size=(reach, 0 if rule.causal else reach))
    made: Any = out
    return made.flatten(1)
