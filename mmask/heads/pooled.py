"""PooledHead: one answer a sample, from the network's pooled state."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmask.errors import PlanError, RecipeError
from mmask.types import Encoded, Prediction, Scored


class PooledHead(nn.Module):
    """One linear layer on ``Encoded.pooled``: next sentence prediction, matching.

    std: of its normal initialisation, cut off at two deviations. network (wired): offers ``width``. target (wired):
    offers ``dim``, the number of classes.
    """

    def __init__(self, *, network: Any, target: Any, std: float = 0.02) -> None:
        super().__init__()
        if not getattr(target, "dim", None):
            raise RecipeError("a pooled head needs a target that says how many classes there are")
        self.std = std
        self.proj = nn.Linear(network.width, target.dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Matrix N(0, std) cut off at two deviations, zero bias."""
        nn.init.trunc_normal_(self.proj.weight, std=self.std, a=-2 * self.std, b=2 * self.std)
        nn.init.zeros_(self.proj.bias)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim) logits of the scored samples.

        Raises PlanError when the network pools nothing, or places are scored."""
        if encoded.pooled is None or scored.unit != "pooled":
            what = "the network pools nothing" if encoded.pooled is None else f"a {scored.unit} is scored"
            raise PlanError(
                f"a pooled head answers once a sample; {what}", hint="set scored=pooled, and the network's pooler"
            )
        return Prediction(self.proj(scored.take(encoded.pooled[:, None])), scored)
