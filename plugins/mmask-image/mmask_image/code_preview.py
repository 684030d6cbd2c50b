"""CodePreview: how sure a model is of the codes of hidden patches; and what a tokenizer's codes keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, MaskedModel, MaskedObjective, RecipeError
from mmask_image.preview import Drawable, greyed, look, sheet

_HIT, _MISS = (0.13, 0.62, 0.35), (0.80, 0.25, 0.25)


class CodePreview:
    """For each sample: original, hidden patches in grey, and the codes that were predicted there.

    A hidden patch is green where the likeliest code is the true one and red where not, brighter the larger the
    probability of the true code. For a recipe that trains a tokenizer, which hides nothing: original, and the
    picture that its codes give back. samples: how many. tile: least side of a drawn picture in pixels. across:
    samples a line.
    """

    def __init__(self, *, samples: int = 8, tile: int = 128, across: int = 2) -> None:
        self.samples, self.tile, self.across = samples, tile, across

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plan is drawn and the model is not run."""
        columns, note = look(_columns, model, batch, plans, predict=predict, samples=self.samples)
        return sheet(columns, note, self.tile, self.across)


def _columns(model: MaskedModel, scene: Any, predict: bool) -> tuple[dict[str, Tensor], str]:
    """Column title -> (B, C, H, W) pictures in [0, 1], and a footnote."""
    name, tokenizer = next(iter(model.tokenizers.items()))
    if not isinstance(tokenizer, Drawable):
        raise RecipeError(f"preview 'codes' cannot draw stream '{name}': its tokenizer has no pixels()")
    clean = scene.view("clean").only().values
    columns = {"original": tokenizer.pixels(clean).float().cpu()}
    objective = _objective(model)
    if objective.plan is None:
        if not predict:
            return columns, "nothing is hidden"
        value = objective.predict(scene).value.to(clean.dtype)
        columns["from codes"] = tokenizer.pixels(value.view_as(clean)).float().cpu()
        return columns, ""
    plan = scene.plan(objective.plan, objective.stream)
    columns["hidden"] = greyed(columns["original"], plan)
    if not predict:
        return columns, f"{plan.ratio():.0%} hidden"
    prediction = objective.predict(scene)
    truth = objective.target(scene, prediction.scored).value
    sure = prediction.value.float().softmax(-1).gather(1, truth[:, None])[:, 0].cpu()
    right = (prediction.value.argmax(-1) == truth).cpu()
    paint = torch.where(right[:, None], torch.tensor(_HIT), torch.tensor(_MISS)) * (0.4 + 0.6 * sure[:, None])
    columns["codes"] = _painted(columns["original"], plan, paint)
    return columns, f"{right.float().mean():.0%} of the codes right, mean probability {sure.mean():.2f}"


def _objective(model: MaskedModel) -> MaskedObjective:
    for objective in model.objectives.values():
        if isinstance(objective, MaskedObjective) and (
            hasattr(objective.target, "field") or (objective.plan is None and hasattr(objective.target, "restore"))
        ):
            return objective
    raise RecipeError("preview 'codes' draws predictions of discrete codes; no objective has such a target")


def _painted(pictures: Tensor, plan: Any, paint: Tensor) -> Tensor:
    """Pictures with every hidden patch in the colour of its row of ``paint`` (S, 3)."""
    colours = torch.zeros(plan.hidden.numel(), 3)
    colours[plan.flat_hidden] = paint
    down, across = plan.layout.unit
    grid = colours.view(len(pictures), *plan.layout.grid, 3).permute(0, 3, 1, 2)
    grid = grid.repeat_interleave(down, 2).repeat_interleave(across, 3)
    if pictures.shape[1] != 3:
        pictures = pictures[:, :1].expand(-1, 3, -1, -1)
    return torch.where(plan.on_grid(plan.layout.unit)[:, None], grid, pictures)
