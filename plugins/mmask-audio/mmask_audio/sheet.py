"""A sheet of stored recordings: wave, spectrogram, and what is written about each."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mmask.api import Sample, StoredSheet
from mmask_audio.decode import Reading
from mmask_audio.fbank import KaldiFbank
from mmask_audio.sound import EXTENSIONS

_WAVE, _RATE = 36, 16_000
# a dark-to-light scale with even steps of lightness
_SCALE = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)])


class AudioSheet(StoredSheet):
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    width, height: of a spectrogram on the sheet, in pixels. columns: recordings in a row. seconds: at most so much of
    each from its start. What cannot be decoded is a crossed box with the reason.
    """

    parts = EXTENSIONS

    def __init__(self, *, width: int = 220, height: int = 80, columns: int = 4, seconds: float = 10.0) -> None:
        super().__init__((width, _WAVE + height), columns, ("text", "name", "label", "speaker"))
        self.width, self.height = width, height
        self._read = Reading(rate=_RATE, seconds=seconds, crop_eval="start")
        self._fbank = KaldiFbank(rate=_RATE, bins=64)

    def picture(self, sample: Sample) -> tuple[np.ndarray, str]:
        """The recording, `drawn`, and its length."""
        wave = self._read.read(sample, None).wave[0]
        return self.drawn(wave), f"{len(wave) / _RATE:.2f} s"

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
