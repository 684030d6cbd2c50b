"""ClipPreview: what was hidden of a clip and what the model puts there, as a strip and as a moving picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, MaskedModel, MaskedObjective, MaskPlan, RecipeError, preview_scene
from mmask_video.clip import ClipTokenizer

_GREY, _PAPER, _INK = 128, 255, 40
_TITLE, _GAP, _SPACE = 16, 3, 18
Rows = dict[str, Tensor]  # title -> (B, C, T, H, W) in [0, 1]


class ClipPreview:
    """Each clip as three lines of frames, original, hidden cuboids in grey, and the prediction in their place; and the
    same three side by side, moving.

    samples: how many clips. columns: frames of a line, evenly spread. tile: least side of a frame in pixels; smaller
    ones are enlarged by whole numbers. rate: frames a second of the moving picture. With normalised targets the model
    predicts neither a cuboid's mean colour nor its contrast: those of the truth are put back, and the picture says so.
    """

    def __init__(self, *, samples: int = 3, columns: int = 8, tile: int = 96, rate: float = 4.0) -> None:
        self.samples, self.columns, self.tile, self.rate = samples, columns, tile, rate

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plan is drawn and the model is not run."""
        rows, note = self._look(model, batch, plans, predict)
        return strip(rows, note, self.columns, self.tile)

    def animate(self, model: MaskedModel, batch: Batch, *, plans: Any = None) -> np.ndarray:
        """(T, H, W, 3) uint8: a line for each clip, its three forms side by side."""
        return moving(self._look(model, batch, plans, True)[0], self.tile)

    def _look(self, model: MaskedModel, batch: Batch, plans: Any, predict: bool) -> tuple[Rows, str]:
        with preview_scene(model, batch, plans, samples=self.samples) as scene:
            return _rows(model, scene, predict)


def _rows(model: MaskedModel, scene: Any, predict: bool) -> tuple[Rows, str]:
    """Title -> clips, and a footnote."""
    objective, stream, tokenizer = _drawable(model)
    plan, clean = scene.plan(objective.plan or "mask", objective.stream), scene.view("clean").tokens[stream].values
    original = tokenizer.pixels(clean).float().cpu()
    rows = {"original": original, "hidden": greyed(original, plan)}
    if not predict:
        return rows, f"{plan.ratio():.0%} hidden"
    prediction = objective.predict(scene)
    maker: Any = objective.target
    value = maker.restore(prediction.value, objective.target(scene, prediction.scored)).to(clean.dtype)
    index = prediction.scored.index
    filled = value if index is None else clean.flatten(0, 1).index_copy(0, index.to(clean.device), value)
    rows["reconstructed"] = tokenizer.pixels(filled.view_as(clean)).float().cpu()
    note = "; each cuboid's own mean and deviation put back" if maker.normalise else ""
    return rows, f"{plan.ratio():.0%} hidden{note}"


def _drawable(model: MaskedModel) -> tuple[MaskedObjective, str, ClipTokenizer]:
    """The first objective that predicts the pixels of a clip, its stream and tokenizer."""
    for objective in model.objectives.values():
        if isinstance(objective, MaskedObjective) and hasattr(objective.target, "restore"):
            stream = objective.stream or next(iter(model.tokenizers))
            tokenizer = model.tokenizers[stream]
            if isinstance(tokenizer, ClipTokenizer):
                return objective, stream, tokenizer
    raise RecipeError("preview 'clip' draws pixels of clips; no objective predicts any")


def greyed(clips: Tensor, plan: MaskPlan) -> Tensor:
    """Clips (B, C, T, H, W) with hidden cuboids in grey."""
    hidden = plan.on_grid(plan.layout.unit or 1)
    return torch.where(hidden[:, None], torch.full_like(clips, _GREY / 255), clips)


def strip(rows: Rows, note: str, columns: int, tile: int, captions: Sequence[str] = ()) -> np.ndarray:
    """Clips below one another, each with one line of frames for every title and its caption. -> (H, W, 3) uint8."""
    from PIL import Image, ImageDraw

    first = next(iter(rows.values()))
    count, frames, times = first.shape[0], first.shape[2], _times(tile, first)
    chosen = np.unique(np.rint(np.linspace(0, frames - 1, min(columns, frames))).astype(int))
    drawn = {title: _big(clips[:, :, chosen], times) for title, clips in rows.items()}
    high, wide = next(iter(drawn.values())).shape[2:4]
    margin, block = 92, len(rows) * (high + _GAP) + _SPACE
    foot = _SPACE if captions else 0
    page = Image.new("RGB", (margin + len(chosen) * (wide + _GAP), _TITLE + count * block + foot), (_PAPER,) * 3)
    draw = ImageDraw.Draw(page)
    for column, frame in enumerate(chosen):
        draw.text((margin + column * (wide + _GAP), 2), f"frame {frame}", fill=(_INK,) * 3)
    for number, caption in enumerate(captions):
        draw.text((margin, _TITLE + number * block + len(rows) * (high + _GAP)), caption, fill=(_INK,) * 3)
    for line, (title, clips) in enumerate(drawn.items()):
        for number, clip in enumerate(clips):
            top = _TITLE + number * block + line * (high + _GAP)
            draw.text((4, top + high // 2 - 6), title, fill=(_INK,) * 3)
            for column, frame in enumerate(clip):
                page.paste(Image.fromarray(frame), (margin + column * (wide + _GAP), top))
    draw.text((4, page.size[1] - _SPACE + 3), note, fill=(_INK,) * 3)
    return np.asarray(page).copy()


def moving(rows: Rows, tile: int) -> np.ndarray:
    """(T, H, W, 3) uint8: a line for each clip, its forms side by side."""
    times = _times(tile, next(iter(rows.values())))
    forms = [_big(clips, times) for clips in rows.values()]
    return np.concatenate([np.concatenate(list(form), axis=1) for form in forms], axis=2)


def _times(tile: int, clips: Tensor) -> int:
    return max(1, -(-tile // min(clips.shape[-2:])))


def _big(clips: Tensor, times: int) -> np.ndarray:
    """(B, C, T, H, W) in [0, 1] -> (B, T, H·times, W·times, 3) uint8. One channel is drawn grey."""
    clips = clips.expand(-1, 3, -1, -1, -1) if clips.shape[1] == 1 else clips[:, :3]
    pixels = (clips.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1)
    return pixels.repeat_interleave(times, 2).repeat_interleave(times, 3).contiguous().numpy()
