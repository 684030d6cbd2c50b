"""TwoLayers: what is predicted, from states by two linear layers (SSAST, VIOLET)."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmask.errors import RecipeError
from mmask.types import Encoded, Prediction, Scored


class TwoLayers(nn.Module):
    """Dropout, linear to ``times`` the width, ReLU, linear to the target's ``dim``, at scored places only.

    network (wired): offers ``width``. target (wired): offers ``dim``.
    """

    def __init__(self, *, network: Any, target: Any, times: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        if not getattr(target, "dim", None):
            raise RecipeError("head 'two-layers' needs a target of fixed size")
        inner = times * network.width
        self.layers = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(network.width, inner), nn.ReLU(), nn.Linear(inner, target.dim)
        )

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim)."""
        return Prediction(self.layers(encoded.at(scored)), scored)
