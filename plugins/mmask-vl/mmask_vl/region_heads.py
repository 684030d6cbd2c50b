"""RegionHead: what a hidden region was like, or what it showed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Encoded, Prediction, RecipeError, Scored, states_at


class RegionHead(nn.Module):
    """Linear, GELU, norm, then the answer, at scored places only.

    tied: the last layer is the transpose of the network's projection of features, with a bias of its own (UNITER's
    regression of features); otherwise a linear layer to the target's ``dim``. eps, std: None takes the network's.
    network (wired): a `mmask_vl.uniter.UniterEncoder`, or what has its ``width``, ``parts`` and, for ``tied``,
    ``embed_regions``. target (wired): offers ``dim``.
    """

    def __init__(
        self, *, network: Any, target: Any, tied: bool = False, eps: float | None = None, std: float | None = None
    ) -> None:
        super().__init__()
        parts, dim = network.parts, getattr(target, "dim", None)
        if not dim:
            raise RecipeError("head 'region' needs a target that says how many values or classes a place has")
        features = getattr(getattr(network, "embed_regions", None), "features", None)
        if tied and (features is None or features.in_features != dim):
            raise RecipeError(f"head 'region' cannot be tied: the network projects no features of {dim} numbers")
        self.dense = nn.Linear(network.width, network.width)
        self.norm = nn.LayerNorm(network.width, eps=parts.eps if eps is None else eps)
        self.tied = features if tied else None
        self.out = None if tied else nn.Linear(network.width, dim)
        self.bias = nn.Parameter(torch.zeros(dim)) if tied else None
        std = parts.std if std is None else std
        for layer in (self.dense, self.out):
            if layer is not None:
                nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
                nn.init.zeros_(layer.bias)

    def answer(self, states: Tensor) -> Tensor:
        """(S, width) -> (S, dim)."""
        x = self.norm(F.gelu(self.dense(states)))
        if self.out is not None:
            return self.out(x)
        assert self.tied is not None
        return F.linear(x, self.tied.weight.t(), self.bias)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim)."""
        return Prediction(self.answer(states_at(encoded, scored)), scored)
