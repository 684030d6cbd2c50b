"""RtdHead: original or replaced, one logit a place (ELECTRA's discriminator head)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import ACTIVATIONS, Encoded, Prediction, RecipeError, Scored, linear


class RtdHead(nn.Module):
    """``dense`` (width), activation, ``out`` (1), without a norm.

    act: of the dense layer; None takes the network's. std: of N(0, std) cut off at two deviations; None takes the
    network's. fast: large products through oneDNN on CPUs where it is the faster library.
    network (wired): a `mmask_text.encoder.TextEncoder`, or what has its ``width`` and ``parts``.
    """

    def __init__(
        self, *, network: Any, act: str | None = None, std: float | None = None, fast: bool = True
    ) -> None:
        super().__init__()
        name = network.parts.act if act is None else act
        if name not in ACTIVATIONS:
            raise RecipeError(f"no activation '{name}'", hint=f"there are {', '.join(ACTIVATIONS)}")
        self.act, self.fast, self.std = ACTIVATIONS[name], fast, network.parts.std if std is None else std
        self.dense = nn.Linear(network.width, network.width)
        self.out = nn.Linear(network.width, 1)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, std) cut off at two deviations; zero biases."""
        for module in (self.dense, self.out):
            nn.init.trunc_normal_(module.weight, std=self.std, a=-2 * self.std, b=2 * self.std)
            nn.init.zeros_(module.bias)

    def logits(self, states: Tensor) -> Tensor:
        """(S, width) -> (S,)."""
        return self.out(self.act(linear(self.dense, states, fast=self.fast))).squeeze(-1)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S,) logits; above 0 says replaced."""
        return Prediction(self.logits(encoded.at(scored)), scored)
