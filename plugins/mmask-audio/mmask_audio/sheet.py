"""A sheet of stored recordings: wave, spectrogram, and what is written about each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mmask.api import Batch, Sample, SampleError, SampleId
from mmask_audio.decode import Reading
from mmask_audio.fbank import KaldiFbank
from mmask_audio.sound import EXTENSIONS

_MARGIN, _LINES, _LINE, _WAVE = 8, 2, 13, 36
_RATE = 16_000
# a dark-to-light scale with even steps of lightness
_SCALE = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)])


class AudioSheet:
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    width, height: of a spectrogram on the sheet, in pixels. columns: recordings in a row. seconds: at most so much of
    each from its start. What cannot be decoded is a crossed box with the reason.
    """

    parts = EXTENSIONS

    def __init__(self, *, width: int = 220, height: int = 80, columns: int = 4, seconds: float = 10.0) -> None:
        self.width, self.height, self.columns = width, height, columns
        self._read = Reading(rate=_RATE, seconds=seconds, crop_eval="start")
        self._fbank = KaldiFbank(rate=_RATE, bins=64)

    def __call__(self, model: Any, batch: Batch, *, plans: Any = None, predict: bool = False) -> np.ndarray:
        """(H, W, 3) uint8. Neither a model nor plans are looked at: these are the stored samples."""
        columns = min(self.columns, len(batch))
        wide, high = self.width + _MARGIN, _WAVE + self.height + _MARGIN + _LINES * _LINE
        rows = -(-len(batch) // columns)
        sheet = Image.new("RGB", (columns * wide + _MARGIN, rows * high + _MARGIN), "white")
        for at in range(len(batch)):
            stored = {name: values[at] for name, values in batch.fields.items() if values[at] is not None}
            place = (_MARGIN + at % columns * wide, _MARGIN + at // columns * high)
            self._cell(sheet, place, batch.names[at] if batch.names else str(at), stored)
        return np.asarray(sheet)

    def _cell(self, sheet: Image.Image, at: tuple[int, int], key: str, stored: Mapping[str, bytes]) -> None:
        draw = ImageDraw.Draw(sheet)
        try:
            wave = self._read.read(Sample(SampleId("", "", key), stored), None).wave[0]
            sheet.paste(Image.fromarray(self.drawn(wave)), at)
            lines = [f"{key}  {len(wave) / _RATE:.2f} s", _about(stored)]
        except SampleError as error:
            right, bottom = at[0] + self.width - 1, at[1] + _WAVE + self.height - 1
            draw.rectangle((*at, right, bottom), outline="#c00", fill="#fee")
            draw.line((*at, right, bottom), fill="#c00")
            lines = [key, error.message.split(": ", 1)[-1]]
        font = ImageFont.load_default(11)
        for number, text in enumerate(lines):
            place = (at[0], at[1] + _WAVE + self.height + 1 + number * _LINE)
            draw.text(place, _fitted(draw, text, font, self.width), "black" if number else "#666", font=font)

    def drawn(self, wave: np.ndarray) -> np.ndarray:
        """(S,) -> (H, width, 3) uint8: the wave's envelope above its spectrogram, low bands below."""
        picture = np.full((_WAVE + self.height, self.width, 3), 255, np.uint8)
        cuts = np.linspace(0, len(wave), self.width + 1).astype(np.int64)
        loud = max(float(np.abs(wave).max()), 1e-9)
        for x in range(self.width):
            piece = wave[cuts[x] : max(cuts[x + 1], cuts[x] + 1)] / loud
            top, bottom = ((1 - value) / 2 * (_WAVE - 1) for value in (float(piece.max()), float(piece.min())))
            picture[int(top) : int(bottom) + 1, x] = (40, 90, 140)
        short = self._fbank.samples(1) - len(wave)
        frames = self._fbank(torch.from_numpy(np.pad(wave, (0, max(0, short)))))
        image = Image.fromarray(_coloured(frames.numpy().T[::-1]))
        resized = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        picture[_WAVE:] = np.asarray(resized)
        return picture


def _coloured(values: np.ndarray) -> np.ndarray:
    """(M, T) -> (M, T, 3) uint8, from the 5th percentile to the largest value."""
    low, high = float(np.quantile(values, 0.05)), float(values.max())
    share = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * (len(_SCALE) - 1)
    places = np.arange(len(_SCALE))
    return np.stack([np.interp(share, places, _SCALE[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def _about(stored: Mapping[str, bytes]) -> str:
    """What is written about a sample: its transcript, its class, or a name in its JSON."""
    found = [stored[part].decode("utf-8", "replace").strip() for part in ("cls", "txt") if part in stored]
    if "json" in stored:
        try:
            known = json.loads(stored["json"])
            found += [str(known[name]) for name in ("text", "name", "label", "speaker") if name in known]
        except (ValueError, TypeError):
            found.append("json cannot be read")
    return " · ".join(found)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """The start of ``text`` that fits, in one line."""
    line = " ".join(text.split())
    while line and draw.textlength(line, font=font) > width:
        line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
    return line
