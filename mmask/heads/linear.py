"""Linear and States: the two smallest heads."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmask.errors import RecipeError
from mmask.layers.places import states_at
from mmask.types import Encoded, Prediction, Scored


class LinearHead(nn.Module):
    """One linear layer at scored places: SimMIM's decoder, BEiT's classifier of codes.

    bias: whether it has one. std: of the truncated normal initialisation, with biases at zero; None is torch's own,
    U(-1/sqrt(width), 1/sqrt(width)) for both (wav2vec 2.0).
    network (wired): offers ``width``. target (wired): offers ``dim``, the values or classes of a place.
    """

    def __init__(self, *, network: Any, target: Any, bias: bool = True, std: float | None = 0.02) -> None:
        super().__init__()
        if not getattr(target, "dim", None):
            raise RecipeError("a linear head needs a target that says how many values or classes a place has")
        self.std = std
        self.proj = nn.Linear(network.width, target.dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrix N(0, std) cut off at one deviation, as BEiT has it; zero bias. Or torch's."""
        if self.std is None:
            self.proj.reset_parameters()
            return
        nn.init.trunc_normal_(self.proj.weight, std=self.std, a=-self.std, b=self.std)
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim). Computed at scored places only."""
        return Prediction(self.proj(states_at(encoded, scored)), scored)


class StatesHead:
    """No layer: the network's own states at scored places are the prediction (CAE's alignment)."""

    def __call__(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, D)."""
        return Prediction(states_at(encoded, scored), scored)
