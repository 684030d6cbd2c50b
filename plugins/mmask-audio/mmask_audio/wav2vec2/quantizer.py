"""GumbelQuantizer: a product of codebooks whose entries are chosen by straight-through Gumbel softmax."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import RecipeError


@dataclass(frozen=True, slots=True)
class Quantized:
    """vectors: (S, width) the chosen entries of all groups side by side. probs: (S, G, V) what diversity is measured
    on: softmax of the clean logits in training, the choice itself in evaluation. ids: (S, G) int64, the choice."""

    vectors: Tensor
    probs: Tensor
    ids: Tensor


class GumbelQuantizer(nn.Module):
    """G codebooks of V entries (Jang et al. 2017; Baevski et al. 2020). Names as in transformers.

    dim: channels that are read. groups, entries: G and V. width: of all groups' vectors together.
    """

    def __init__(self, dim: int, *, groups: int, entries: int, width: int) -> None:
        super().__init__()
        if width % groups:
            raise RecipeError(f"codes of width {width} cannot be made of {groups} groups")
        self.groups, self.entries, self.width = groups, entries, width
        self.codevectors = nn.Parameter(torch.empty(1, groups * entries, width // groups))
        self.weight_proj = nn.Linear(dim, groups * entries)
        nn.init.uniform_(self.codevectors)
        nn.init.normal_(self.weight_proj.weight, std=1.0)
        nn.init.zeros_(self.weight_proj.bias)

    def forward(self, x: Tensor, noise: Tensor | None = None, temperature: float = 1.0) -> Quantized:
        """x: (S, dim). noise: (S, G, V) standard Gumbel noise, for training; None takes the likeliest entry, without
        a gradient to the logits. temperature: above 0, divides logits and noise.

        The straight-through choice is one entry forward and the softmax backward.
        """
        logits = self.weight_proj(x).unflatten(-1, (self.groups, self.entries))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if noise is None:
            ids = logits.argmax(-1)
            chosen = probs = F.one_hot(ids, self.entries).to(logits.dtype)
        else:
            soft = ((logits + noise.to(logits.device, logits.dtype)) / temperature).softmax(-1)
            ids = soft.argmax(-1)
            chosen = F.one_hot(ids, self.entries).to(logits.dtype) - soft.detach() + soft
            probs = logits.softmax(-1)
        table = self.codevectors[0].unflatten(0, (self.groups, self.entries)).to(chosen.dtype)
        vectors = torch.einsum("sgv,gvd->sgd", chosen, table).flatten(1)
        return Quantized(vectors, probs, ids)


def perplexity(probs: Tensor) -> Tensor:
    """exp(entropy) of each row of (..., V) distributions; 0 log 0 is 0, also in the gradient."""
    tiny = torch.finfo(probs.dtype).tiny
    return (-(probs * probs.clamp_min(tiny).log()).sum(-1)).exp()
