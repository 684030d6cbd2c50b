"""MaePreview: what was hidden and what the model puts there, as a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from mmask.api import Batch, MaskedModel, MaskedObjective, MaskPlan, RecipeError, Target, preview_scene

# model, scene, whether to predict -> column title -> (B, C, H, W) pictures, and a footnote
Columns = Callable[[MaskedModel, Any, bool], tuple[dict[str, torch.Tensor], str]]
_GREY, _PAPER, _INK = 128, 255, 40
_TITLE, _GAP, _SPACE = 16, 4, 24


@runtime_checkable
class Drawable(Protocol):
    """What this preview needs of a tokenizer: its values drawn."""

    def pixels(self, values: torch.Tensor) -> torch.Tensor:
        """(B, N, D) values -> (B, C, H, W) in [0, 1]."""
        ...


@runtime_checkable
class Restorable(Protocol):
    """What this preview needs of a target: predictions brought back to the tokenizer's values."""

    normalise: bool

    def restore(self, value: torch.Tensor, target: Target) -> torch.Tensor:
        """(S, D) predictions -> (S, D) on the scale of the tokens."""
        ...


class MaePreview:
    """Each sample three times: original, hidden patches in grey, and the prediction in their place.

    samples: how many, ``across`` of them a line. tile: least side of a drawn picture in pixels; smaller
    pictures are enlarged by whole numbers. Pictures are brought back to [0, 1] with the tokenizer's mean
    and std. With normalised targets the model predicts neither a patch's mean nor its contrast: those of
    the truth are put back, as the reference's visualisation does, and the picture says so. One channel is
    drawn grey; of more than three, the first three.
    """

    def __init__(self, *, samples: int = 8, tile: int = 128, across: int = 2) -> None:
        self.samples, self.tile, self.across = samples, tile, across

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plan is drawn and the model is not run."""
        columns, note = look(_columns, model, batch, plans, predict=predict, samples=self.samples)
        return sheet(columns, note, self.tile, self.across)


def look(
    columns: Columns, model: MaskedModel, batch: Batch, plans: Any, *, predict: bool, samples: int
) -> tuple[dict[str, torch.Tensor], str]:
    """``columns`` of the first ``samples`` of a batch, in evaluation mode without gradients."""
    with preview_scene(model, batch, plans, samples=samples) as scene:
        return columns(model, scene, predict)


def _columns(model: MaskedModel, scene: Any, predict: bool) -> tuple[dict[str, torch.Tensor], str]:
    """Column title -> (B, C, H, W) pictures in [0, 1], and a footnote."""
    objective, maker = _objective(model)
    plan = scene.plan(objective.plan or "mask", objective.stream)
    stream = objective.stream or next(iter(model.tokenizers))
    tokenizer, clean = model.tokenizers[stream], scene.view("clean").tokens[stream].values
    if not isinstance(tokenizer, Drawable) or clean is None:
        raise RecipeError(f"preview 'mae' draws values as pixels; the tokenizer of stream '{stream}' has none")
    original = tokenizer.pixels(clean).float().cpu()
    columns = {"original": original, "hidden": greyed(original, plan)}
    if not predict:
        return columns, f"{plan.ratio():.0%} hidden"
    prediction = objective.predict(scene)
    target = objective.target(scene, prediction.scored)
    filled = clean.flatten(0, 1).clone()
    index = prediction.scored.index
    value = maker.restore(prediction.value, target).to(filled.dtype)
    filled = value if index is None else filled.index_copy(0, index.to(filled.device), value)
    columns["reconstructed"] = tokenizer.pixels(filled.view_as(clean)).float().cpu()
    return columns, "each patch's own mean and deviation put back" if maker.normalise else ""


def _objective(model: MaskedModel) -> tuple[MaskedObjective, Restorable]:
    """The first objective that predicts what can be drawn, and its target."""
    for objective in model.objectives.values():
        if isinstance(objective, MaskedObjective) and isinstance(objective.target, Restorable):
            return objective, objective.target
    raise RecipeError("preview 'mae' draws predictions of pixels; no objective has such a target")


def greyed(pictures: torch.Tensor, plan: MaskPlan) -> torch.Tensor:
    """Pictures (B, C, H, W) with hidden patches in grey."""
    hidden = plan.on_grid(plan.layout.unit or 1)
    return torch.where(hidden[:, None], torch.full_like(pictures, _GREY / 255), pictures)


def sheet(columns: dict[str, torch.Tensor], note: str, tile: int, across: int = 2) -> np.ndarray:
    """``across`` samples a line, each as its columns side by side; titles above, a footnote below.

    columns: title -> (B, C, H, W) in [0, 1]. -> (H, W, 3) uint8.
    """
    from PIL import Image, ImageDraw

    drawn = {title: _rgb(pictures) for title, pictures in columns.items()}
    count, high, wide, _ = next(iter(drawn.values())).shape
    times = max(1, -(-tile // min(high, wide)))
    high, wide, across = high * times, wide * times, min(across, count)
    lines, block = -(-count // across), len(drawn) * (wide + _GAP) + _SPACE
    size = (across * block - _SPACE + _GAP, _TITLE + lines * (high + _GAP) + (_TITLE if note else _GAP))
    page = Image.new("RGB", size, (_PAPER,) * 3)
    draw = ImageDraw.Draw(page)
    for column, (title, pictures) in enumerate(drawn.items()):
        for number, picture in enumerate(pictures):
            line, place = divmod(number, across)
            left = _GAP + place * block + column * (wide + _GAP)
            if line == 0:
                draw.text((left, 2), title, fill=(_INK,) * 3)
            big = picture.repeat(times, 0).repeat(times, 1)
            page.paste(Image.fromarray(big), (left, _TITLE + line * (high + _GAP)))
    draw.text((_GAP, size[1] - _TITLE + 2), note, fill=(_INK,) * 3)
    return np.asarray(page).copy()


def _rgb(pictures: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) in [0, 1] -> (B, H, W, 3) uint8."""
    channels = pictures.shape[1]
    if channels == 1:
        pictures = pictures.expand(-1, 3, -1, -1)
    elif channels == 2:
        pictures = torch.cat([pictures, torch.zeros_like(pictures[:, :1])], dim=1)
    pixels = (pictures[:, :3].clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()
