"""weighed: a place's error times the weights that scoring and target give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mmask.types import Prediction, Target


def weighed(each: torch.Tensor, prediction: Prediction, target: Target) -> torch.Tensor:
    """(S,) errors -> (S,), multiplied by ``Scored.weight`` and ``Target.weight`` where they are given."""
    for weight in (prediction.scored.weight, target.weight):
        if weight is not None:
            each = each * weight.to(each.device, each.dtype)
    return each
