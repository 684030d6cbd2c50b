"""ClipAndWords: a clip and its caption, what was hidden of both, and what the model makes of it (VIOLET)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, MaskedModel, MaskPlan, RecipeError, preview_scene
from mmask_video.cells import reconstructed
from mmask_video.preview import Rows, moving, strip

_RIGHT, _WRONG, _HIDDEN = (0.35, 0.85, 0.4), (0.95, 0.35, 0.3), (0.0, 0.0, 0.0)


class ClipAndWords:
    """Each clip as it is and with hidden cells black; after a prediction also with those cells as their guessed codes
    look (`mmask_video.cells`), and tinted, green where the code of the cell is the model's first guess and red where
    not; the caption below, hidden words in brackets with the model's guess behind an arrow. A recipe without one of the
    two objectives has no guesses of its kind.

    samples: how many clips. columns: frames of a line. tile: least side of a frame in pixels. rate: frames a second
    of the moving picture. cells, words: names of the objectives that predict codes and words.
    """

    def __init__(
        self, *, samples: int = 4, columns: int = 8, tile: int = 96, rate: float = 2.0, cells: str = "cells",
        words: str = "words",
    ) -> None:
        self.samples, self.columns, self.tile, self.rate = samples, columns, tile, rate
        self.cells, self.words = cells, words

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plan is drawn and the network of the objectives is not run."""
        rows, note, captions = self._look(model, batch, plans, predict)
        return strip(rows, note, self.columns, self.tile, captions)

    def animate(self, model: MaskedModel, batch: Batch, *, plans: Any = None) -> np.ndarray:
        """(T, H, W, 3) uint8: a line for each clip, its forms side by side, without the captions."""
        return moving(self._look(model, batch, plans, True)[0], self.tile)

    def _look(self, model: MaskedModel, batch: Batch, plans: Any, predict: bool) -> tuple[Rows, str, list[str]]:
        if not {self.cells, self.words} & {*model.objectives}:
            raise RecipeError(
                f"preview 'clip-and-words' draws '{self.cells}' and '{self.words}'; the recipe has neither objective",
                hint="preview=none draws nothing",
            )
        with preview_scene(model, batch, plans, samples=self.samples) as scene:
            return self._draw(model, scene, batch if predict else None)

    def _draw(self, model: MaskedModel, scene: Any, batch: Batch | None) -> tuple[Rows, str, list[str]]:
        """Title -> clips, a footnote, and a caption for each clip."""
        asked: dict[str, Any] = dict(model.objectives)
        cells, words = asked.get(self.cells), asked.get(self.words)
        plans = str(next(one.plan for one in (cells, words) if one is not None))
        tokenizers: dict[str, Any] = dict(model.tokenizers)
        video = next(name for name, one in tokenizers.items() if hasattr(one, "clip"))
        text = next(name for name, one in tokenizers.items() if hasattr(one, "vocabulary"))
        tokenizer, plan = tokenizers[video], scene.plan(plans, video)
        values = scene.view("clean").tokens[video].values
        grid = plan.layout.grid
        clips = tokenizer.clip(values, grid).float().cpu()
        rows = {"original": clips, "hidden": tinted(clips, plan.hidden, plan, _HIDDEN, 1.0)}
        legend = ""
        if batch is not None and cells is not None:
            whole = model.scene(batch, {})
            seen = tokenizer.clip(whole.view("clean").tokens[video].values, grid).float().cpu()
            rows["reconstructed"] = reconstructed(clips, plan, cells, scene, whole, seen)
            right = _right(cells, scene, plan)
            drawn = tinted(clips, plan.hidden & right, plan, _RIGHT, 0.55)
            rows["codes"] = tinted(drawn, plan.hidden & ~right, plan, _WRONG, 0.55)
            legend = "; guessed codes look as cells that have them; green: the right code is guessed first"
        guesses = words.predict(scene) if batch is not None and words is not None else None
        captions = _captions(tokenizers[text], scene, scene.plan(plans, text), text, guesses)
        return rows, f"{plan.ratio():.0%} of the cells hidden{legend}", captions


def tinted(clips: Tensor, cells: Tensor, plan: MaskPlan, colour: tuple[float, float, float], share: float) -> Tensor:
    """Clips (B, 3, T, H, W) with ``cells`` (B, N) bool mixed with a colour."""
    covered = MaskPlan.of_hidden(plan.layout, cells).on_grid(plan.layout.unit or 1)
    covered = covered[..., : clips.shape[-2], : clips.shape[-1]]
    paint = torch.tensor(colour).view(1, 3, 1, 1, 1)
    return torch.where(covered[:, None], (1 - share) * clips + share * paint, clips)


def _right(objective: Any, scene: Any, plan: MaskPlan) -> Tensor:
    """(B, N) bool: hidden cells whose code is the first guess."""
    prediction = objective.predict(scene)
    target = objective.target(scene, prediction.scored)
    found = torch.zeros(plan.layout.batch * plan.layout.length, dtype=torch.bool)
    found[prediction.scored.index.cpu()] = (prediction.value.argmax(-1) == target.value).cpu()
    return found.view(plan.layout.batch, plan.layout.length)


def _captions(tokenizer: Any, scene: Any, plan: MaskPlan, stream: str, guesses: Any) -> list[str]:
    """One line a sample."""
    tokens = scene.view("clean").tokens[stream]
    vocabulary, ids = tokenizer.vocabulary, tokens.ids.cpu()
    valid = torch.ones_like(ids, dtype=torch.bool) if tokens.layout.valid is None else tokens.layout.valid.cpu()
    special = torch.zeros_like(valid) if tokens.layout.special is None else tokens.layout.special.cpu()
    said: dict[int, int] = {}
    if guesses is not None:
        best = guesses.value.argmax(-1).tolist()
        said = dict(zip(guesses.scored.index.tolist(), best, strict=True))
    lines = []
    for row in range(len(ids)):
        words = []
        for place in (valid[row] & ~special[row]).nonzero().flatten().tolist():
            word = vocabulary.token(int(ids[row, place]))
            guess = said.get(row * ids.shape[1] + place)
            arrow = "" if guess is None else f" -> {vocabulary.token(guess)}"
            words.append(f"[{word}{arrow}]" if bool(plan.hidden[row, place]) else word)
        lines.append(" ".join(words))
    return lines
