"""WaveformPreview: a recording, its hidden spans, and whether the right code was told from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, MaskedModel, RecipeError, preview_scene
from mmask_audio.fbank import KaldiFbank
from mmask_audio.paint import GREY, PAPER, Strip, coloured, enlarged, sheet, value_range
from mmask_audio.wav2vec2.contrast import SampledContrast
from mmask_audio.wav2vec2.features import ConvFeatures
from mmask_audio.wav2vec2.objective import CodeContrast

_RATE = 16_000  # the scale of the bands; frames are counted in samples
_WAVE, _SPECTRUM, _ROW, _BARS = 40, 64, 10, 40
_LINE, _HIDDEN, _RIGHT, _WRONG = (40, 90, 140), (255, 226, 170), (40, 140, 60), (200, 50, 40)


class WaveformPreview:
    """Each recording as strips over one time axis: its wave, with hidden spans on a ground of their own; its log-mel
    spectrum, hidden spans in grey, for the eye alone: the network reads the wave; the code of every hidden frame, one
    row for each codebook and a colour for each entry; and, for every hidden frame, a bar as high as the share that the
    network gives to the right one of 1 + K candidates, green where it is the likeliest, red where it is not.

    samples: how many recordings, ``across`` of them side by side. objective: whose choices are drawn, a
    ``code-contrast``; the first one where there is no name. wide: least width of a strip in pixels; frames are drawn
    as whole numbers of pixels. bins: of the spectrum. colours: a colour map of matplotlib.
    """

    def __init__(
        self, *, samples: int = 6, across: int = 2, objective: str = "", wide: int = 240, bins: int = 48,
        colours: str = "magma",
    ) -> None:
        if min(samples, across, wide, bins) < 1:
            raise RecipeError(f"samples {samples}, across {across}, wide {wide} and bins {bins} must be at least 1")
        self.samples, self.across, self.objective = samples, across, objective
        self.wide, self.bins, self.colours = wide, bins, colours

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plan is drawn and the model is not run."""
        objective, front = self._parts(model)
        stream = objective.stream or next(iter(model.tokenizers))
        assert objective.plan is not None
        with preview_scene(model, batch, plans, samples=self.samples) as scene:
            told = _told(objective, scene) if predict else {}
        batch, hidden = scene.batch, scene.plan(objective.plan, stream).hidden
        lengths = scene.layout(stream).lengths().tolist()
        each = max(1, -(-self.wide // hidden.shape[1]))  # pixels of a frame
        blocks = []
        for row in range(len(batch)):
            wave, count = batch[front.field][row].float().cpu(), int(lengths[row])
            strips = self._heard(wave, hidden[row].numpy(), count, front, each)
            blocks.append(strips + (_chosen(told, row, hidden[row].numpy(), each) if told else []))
        return sheet(blocks, self.across)

    def _parts(self, model: MaskedModel) -> tuple[CodeContrast, ConvFeatures]:
        """The objective whose choices are drawn, and the tokenizer of its stream."""
        found = {name: one for name, one in model.objectives.items() if isinstance(one, CodeContrast)}
        name = self.objective or next(iter(found), "")
        if name not in found or found[name].plan is None or not isinstance(found[name].loss, SampledContrast):
            raise RecipeError(
                f"preview 'waveform' cannot draw objective '{name}'; it can draw {sorted(found) or 'none'}",
                hint="set preview.objective to a 'code-contrast' with loss 'sampled-contrast'",
            )
        front = model.tokenizers[found[name].stream or next(iter(model.tokenizers))]
        if not isinstance(front, ConvFeatures):
            raise RecipeError(f"preview 'waveform' draws recordings; tokenizer {type(front).__name__} reads none")
        return found[name], front

    def _heard(self, wave: Tensor, hidden: np.ndarray, count: int, front: ConvFeatures, each: int) -> list[Strip]:
        """The wave (S,) and its spectrum. hidden: (N,) bool. count: real frames of N."""
        step, reads = front.arithmetic.stride, front.arithmetic.receptive
        bands = KaldiFbank(
            rate=_RATE, bins=self.bins, frame_ms=1000 * reads / _RATE, shift_ms=1000 * step / _RATE,
        )
        values = np.full((self.bins, len(hidden)), np.nan, np.float32)
        if count:
            values[:, :count] = bands(wave)[:count].numpy().T
        there = np.broadcast_to(np.arange(len(hidden)) < count, values.shape)
        low, high = value_range(values[there])
        values[:, hidden] = np.nan
        spectrum = coloured(values, there, low, high, self.colours)
        return [
            ("wave, hidden spans marked", _drawn(wave.numpy(), hidden, count, step, each)),
            ("log-mel spectrum of what is seen", enlarged(spectrum, len(hidden) * each, _SPECTRUM)),
        ]


def _told(objective: CodeContrast, scene: Any) -> dict[str, Tensor]:
    """Of scored frames: ``rows`` (S,) samples, ``ids`` (S, G) codes, ``share`` (S,) of the right candidate, and
    ``right`` (S,) whether it is the likeliest; ``entries`` and ``candidates``, numbers."""
    prediction = objective.predict(scene)
    target: Any = objective.target(scene, prediction.scored)
    loss: Any = objective.loss
    extra = target.extra
    logits = loss.logits(prediction.value, target.value, extra["negatives"], extra["ids"], prediction.scored)
    return {
        "rows": prediction.scored.rows().cpu(), "ids": extra["ids"].cpu(), "share": logits.softmax(-1)[:, 0].cpu(),
        "right": (logits.argmax(-1) == 0).cpu(), "entries": torch.tensor(extra["probs"].shape[-1]),
        "candidates": torch.tensor(logits.shape[1]),
    }


def _drawn(wave: np.ndarray, hidden: np.ndarray, count: int, step: int, each: int) -> np.ndarray:
    """The envelope of a wave over its frames: (_WAVE, N * each, 3) uint8."""
    picture = np.full((_WAVE, len(hidden) * each, 3), PAPER, np.uint8)
    picture[:, np.repeat(hidden, each)] = _HIDDEN
    loud = max(float(np.abs(wave).max(initial=0.0)), 1e-9)
    for x in range(count * each):
        piece = wave[x * step // each : max((x + 1) * step // each, x * step // each + 1)] / loud
        top, bottom = ((1 - float(value)) / 2 * (_WAVE - 1) for value in (piece.max(), piece.min()))
        picture[int(top) : int(bottom) + 1, x] = _LINE
    return picture


def _chosen(told: dict[str, Tensor], row: int, hidden: np.ndarray, each: int) -> list[Strip]:
    """Codes and choices of one recording's hidden frames."""
    from matplotlib import colormaps

    mine = told["rows"] == row
    places, ids, right = np.flatnonzero(hidden), told["ids"][mine].numpy(), told["right"][mine].numpy()
    codes = np.full((ids.shape[1], len(hidden), 3), PAPER, np.uint8)
    shades = colormaps["turbo"](ids.T / max(1, int(told["entries"]) - 1))[..., :3]
    codes[:, places] = (shades * 255).round()
    bars = np.full((_BARS, len(hidden), 3), PAPER, np.uint8)
    for place, share, good in zip(places, told["share"][mine].numpy(), right, strict=True):
        bars[_BARS - max(1, round(float(share) * _BARS)) :, place] = _RIGHT if good else _WRONG
    bars[0, ~hidden] = bars[-1, ~hidden] = GREY
    wide, chance = len(hidden) * each, len(right) / max(1, int(told["candidates"]))
    title = f"share of the right one: {int(right.sum())} of {len(right)} chosen, chance {chance:.1f}"
    return [
        ("codes of hidden frames", enlarged(codes, wide, _ROW * len(codes))), (title, enlarged(bars, wide, _BARS)),
    ]
