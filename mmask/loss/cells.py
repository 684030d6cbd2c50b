"""CellError: the distance at scored cells, each of them counted alike (TERA)."""

from __future__ import annotations

from typing import Literal

import torch

from mmask.errors import PlanError, RecipeError
from mmask.types import Prediction, Target, Term


class CellError:
    """|p - t| or (p - t)², summed over scored cells; the count is that of cells.

    kind: ``l1`` or ``l2``. A cell is one value of one place: objectives that score ``cells`` give every place a
    weight for each of its values. The sum is taken in float32, or float64 for float64 predictions.
    """

    def __init__(self, *, kind: Literal["l1", "l2"] = "l1") -> None:
        if kind not in ("l1", "l2"):
            raise RecipeError(f"loss.kind is '{kind}'; it is l1 or l2")
        self.kind = kind

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value and target.value: (B·N, D). Raises PlanError when they differ, or places were scored."""
        value, truth, scored = prediction.value, target.value, prediction.scored
        if value.shape != truth.shape:
            raise PlanError(f"the head predicts {tuple(value.shape)}, the target is {tuple(truth.shape)}")
        if scored.unit != "cell" or scored.weight is None:
            raise PlanError(
                f"this loss compares cells, not {scored.unit}s", hint="set the objective's scored to 'cells'"
            )
        dtype = torch.promote_types(value.dtype, torch.float32)
        error = value.to(dtype) - truth.to(value.device, dtype)
        each = error.abs() if self.kind == "l1" else error.square()
        weight = scored.weight.flatten(0, 1).to(each.device, dtype)
        return Term((each * weight).sum(), scored.count(), over="elements")
