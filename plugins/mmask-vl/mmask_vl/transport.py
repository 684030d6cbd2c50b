"""Optimal transport between the words and the regions of a pair, by proximal point steps (IPOT; Xie et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-5  # least length of a state, the reference's


def cosine_cost(words: Tensor, regions: Tensor, there: Tensor) -> Tensor:
    """1 - cosine. words: (B, L, D). regions: (B, R, D). there: (B, L, R) bool -> (B, L, R), 0 where a place is padding."""
    first, second = (F.normalize(states, dim=-1, eps=_TINY) for states in (words, regions))
    return (1 - first @ second.transpose(1, 2)).masked_fill(~there, 0)


@torch.no_grad()
def transport_plan(
    cost: Tensor, words: Tensor, regions: Tensor, *, beta: float = 0.5, steps: int = 50, inner: int = 1
) -> Tensor:
    """How much of each region goes to each word. cost: (B, L, R). words: (B, L) bool, regions: (B, R) bool, False at
    padding -> (B, R, L), exactly 0 at padding; all of it sums to 1, columns and, as steps go on, rows are uniform.

    beta: weight of the proximal term. steps: proximal steps. inner: Sinkhorn's scalings in each. No gradient.
    A pair without a word or without a region gets zeros.
    """
    counts = words.sum(1).clamp_min(1), regions.sum(1).clamp_min(1)
    from_words, to_regions = (count.to(cost.dtype)[:, None] for count in counts)
    there = regions[:, :, None] & words[:, None, :]
    kernel = torch.exp(-cost.transpose(1, 2) / beta).masked_fill(~there, 0)
    plan = there.to(cost.dtype)
    scale_words = words / from_words
    for _ in range(steps):
        step = kernel * plan
        scale_regions = torch.zeros_like(to_regions)
        for _ in range(inner):
            scale_regions = _inverse(to_regions * torch.einsum("brl,bl->br", step, scale_words), regions)
            scale_words = _inverse(from_words * torch.einsum("brl,br->bl", step, scale_regions), words)
        plan = scale_regions[:, :, None] * step * scale_words[:, None, :]
    return plan


def _inverse(x: Tensor, there: Tensor) -> Tensor:
    """1 / x, 0 where nothing is, or nothing arrives."""
    return torch.where(there & (x > 0), 1 / x.masked_fill(~there, 1), 0)


def transport_distance(cost: Tensor, plan: Tensor) -> Tensor:
    """What carrying out a plan costs. cost: (B, L, R). plan: (B, R, L) -> (B,)."""
    return torch.einsum("blr,brl->b", cost, plan)
