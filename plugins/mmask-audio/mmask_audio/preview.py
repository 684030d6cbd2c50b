"""SpectrogramPreview: what was heard, what was hidden or altered, and what the model makes of it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, Layout, MaskedModel, MaskedObjective, RecipeError, Scored, Target, View, preview_scene
from mmask_audio.paint import coloured, enlarged, sheet, value_range


@runtime_checkable
class Drawable(Protocol):
    """What this preview needs of a tokenizer."""

    def picture(self, values: Tensor, layout: Layout) -> Tensor:
        """(B, N, D) values -> (B, bins, frames)."""
        ...


@runtime_checkable
class Restorable(Protocol):
    """What this preview needs of a target: predictions brought back to the tokenizer's values."""

    def restore(self, value: Tensor, target: Target) -> Tensor:
        """(S, D) predictions -> (S, D) on the scale of the tokens."""
        ...


class SpectrogramPreview:
    """Each recording as three strips over one time axis: as it is, as the network sees it (replaced places in grey),
    and with the predictions at scored places. Frequency grows upwards, time to the right; all three have the same scale
    of colours, from the 2nd to the 99.8th percentile of the recording's own values. Padding is white.

    samples: how many recordings, ``across`` of them side by side. objective: whose predictions are drawn; the first one
    whose target can be drawn, where there is no such name. wide: least width of a strip in pixels; shorter recordings
    are stretched by whole numbers, and none is drawn wider than 4 times that. colours: a colour map of matplotlib.
    """

    def __init__(
        self, *, samples: int = 6, across: int = 2, objective: str = "", wide: int = 240, colours: str = "magma"
    ) -> None:
        if min(samples, across, wide) < 1:
            raise RecipeError(f"samples {samples}, across {across} and wide {wide} must be at least 1")
        self.samples, self.across, self.objective = samples, across, objective
        self.wide, self.colours = wide, colours

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plan is drawn and the model is not run."""
        with preview_scene(model, batch, plans, samples=self.samples) as scene:
            strips, there = self._strips(model, scene, predict)
        return self._sheet(strips, there)

    def _strips(self, model: MaskedModel, scene: Any, predict: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Title -> (B, bins, frames), NaN where nothing is shown; and (B, bins, frames) bool, False at padding."""
        objective, target = self._drawn(model)
        stream = objective.stream or next(iter(model.tokenizers))
        tokenizer, clean = model.tokenizers[stream], scene.view("clean").tokens[stream]
        if not isinstance(tokenizer, Drawable) or clean.values is None:
            raise RecipeError(f"preview 'spectrogram' draws features; the tokenizer of stream '{stream}' has none")
        layout = clean.layout

        def draw(values: Tensor) -> np.ndarray:
            made: np.ndarray = tokenizer.picture(values.float().cpu(), layout).numpy()
            return made

        real = layout.maskable()[..., None].expand(clean.values.shape)
        seen = _seen(scene.view(objective.view), stream, clean.values)
        strips = {"original": draw(clean.values), "seen by the network": draw(seen)}
        if predict:
            prediction = objective.predict(scene)
            made = target.restore(prediction.value, objective.target(scene, prediction.scored))
            strips["reconstructed"] = draw(_filled(clean.values, made, prediction.scored))
        return strips, draw(real) > 0.5

    def _drawn(self, model: MaskedModel) -> tuple[MaskedObjective, Restorable]:
        """The objective whose predictions are drawn, and its target."""
        found = {
            name: objective for name, objective in model.objectives.items()
            if isinstance(objective, MaskedObjective) and isinstance(objective.target, Restorable)
        }
        name = self.objective or next(iter(found), "")
        if name not in found:
            raise RecipeError(
                f"preview 'spectrogram' cannot draw objective '{name}'; it can draw {sorted(found) or 'none'}",
                hint="set preview.objective to one whose target is 'values'",
            )
        objective: Any = found[name]
        return objective, objective.target

    def _sheet(self, strips: dict[str, np.ndarray], there: np.ndarray) -> np.ndarray:
        count, bins, frames = there.shape
        wide = min(frames * max(1, -(-self.wide // frames)), 4 * self.wide)
        high = bins * max(1, -(-64 // bins))
        blocks = []
        for number in range(count):
            low, high_end = value_range(strips["original"][number][there[number]])
            blocks.append([
                (title, enlarged(coloured(values[number], there[number], low, high_end, self.colours), wide, high))
                for title, values in strips.items()
            ])
        return sheet(blocks, self.across)


def _seen(view: View, stream: str, clean: Tensor) -> Tensor:
    """(B, N, D): what the network sees of every place, NaN where it sees none of it."""
    tokens = view.tokens[stream]
    if tokens.values is not None and tokens.values.shape == clean.shape and not tokens.flat:
        values, hidden = tokens.values, tokens.replaced
    else:  # dropped
        values, hidden = clean, view.plan(stream).hidden
    if hidden is None:
        return values
    return values.masked_fill(hidden.to(values.device)[..., None], torch.nan)


def _filled(clean: Tensor, made: Tensor, scored: Scored) -> Tensor:
    """(B, N, D): predictions (S, D) at scored places or cells, the truth elsewhere."""
    flat, made = clean.flatten(0, 1), made.to(clean.dtype)
    if scored.unit == "cell" and scored.weight is not None:
        return torch.where(scored.weight.flatten(0, 1).to(made.device) > 0, made, flat).view_as(clean)
    if scored.index is None:
        return made.view_as(clean)
    return flat.index_copy(0, scored.index.to(flat.device), made).view_as(clean)
