"""ClipAndWords: a clip and its caption, what was hidden of both, and what the model makes of it (VIOLET)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, MaskedModel, MaskPlan, RecipeError
from mmask_video.preview import Rows, moving, strip

_RIGHT, _WRONG, _HIDDEN = (0.35, 0.85, 0.4), (0.95, 0.35, 0.3), (0.0, 0.0, 0.0)


class ClipAndWords:
    """Each clip as it is and with hidden cells black; after a prediction also with those cells tinted, green where the
    code of the cell is the model's first guess and red where not; the caption below, hidden words in brackets with
    the model's guess behind an arrow.

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

    @torch.no_grad()
    def _look(self, model: MaskedModel, batch: Batch, plans: Any, predict: bool) -> tuple[Rows, str, list[str]]:
        missing = [name for name in (self.cells, self.words) if name not in model.objectives]
        if missing:
            raise RecipeError(f"preview 'clip-and-words' draws objective '{missing[0]}', which the recipe has not")
        full = model.draw(batch) if plans is None else model.given(batch, plans)
        rows = min(self.samples, len(batch))
        was = model.training
        model.eval()
        try:
            return self._draw(model, model.scene(batch.rows(0, rows), full.rows(0, rows)), predict)
        finally:
            model.train(was)

    def _draw(self, model: MaskedModel, scene: Any, predict: bool) -> tuple[Rows, str, list[str]]:
        """Title -> clips, a footnote, and a caption for each clip."""
        cells: Any = model.objectives[self.cells]
        words: Any = model.objectives[self.words]
        video, text = str(cells.stream), str(words.stream)
        tokenizer: Any = model.tokenizers[video]
        plan = scene.plan(str(cells.plan), video)
        values = scene.view("clean").tokens[video].values
        clips = tokenizer.clip(values, plan.layout.grid).float().cpu()
        rows = {"original": clips, "hidden": tinted(clips, plan.hidden, plan, _HIDDEN, 1.0)}
        guesses = None
        if predict:
            right = _right(cells, scene, plan)
            drawn = tinted(clips, plan.hidden & right, plan, _RIGHT, 0.55)
            rows["codes"] = tinted(drawn, plan.hidden & ~right, plan, _WRONG, 0.55)
            guesses = words.predict(scene)
        captions = _captions(model.tokenizers[text], scene, scene.plan(str(words.plan), text), text, guesses)
        legend = "; green: the right code is guessed first" if predict else ""
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
