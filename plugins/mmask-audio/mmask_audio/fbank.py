"""Log-mel features of waveforms: Kaldi's fbank, and a centred short-time spectrum.

Both are one sequence of operations on blocks of frames that stay in the cache: frames are views of the signal, the
window multiplies them into a buffer that is already padded for the FFT, the squares of the spectrum's real and
imaginary parts go straight into a matrix product with the bands, whose zeros are skipped. All that does not depend on
the signal is made once. Pre-emphasis and the removal of each frame's mean are linear, so that they are applied to
the signal before it is framed, and to the frame as one multiple of the window:

    y[j] = w[j] ((x[j] - m) - p (x[j-1] - m)) = w[j] (x[j] - p x[j-1]) - (1 - p) m w[j],

where x[-1] is x[0] of the frame, as in Kaldi.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mmask.api import RecipeError
from mmask_audio.melbank import Bands, htk_bank, in_bands, kaldi_bank

WINDOWS = ("hanning", "povey", "hamming", "rectangular", "blackman")
_BLOCK = 256  # frames at a time
_FLOOR = float(np.finfo(np.float32).eps)


class KaldiFbank:
    """Kaldi's log-mel filter bank features, without dither and energy: what SSAST and AST are given.

    rate: samples a second. bins: bands. low, high: Hz; ``high`` of 0 or less counts from half the rate. frame_ms,
    shift_ms: of the frames, which lie inside the signal (``snip_edges``). window: ``hanning``, ``povey``, ``hamming``,
    ``blackman``, ``rectangular``. preemphasis: 0 to 1. remove_dc: subtract each frame's mean. dtype: of the arithmetic.
    """

    def __init__(
        self, *, rate: int = 16_000, bins: int = 128, low: float = 20.0, high: float = 0.0, frame_ms: float = 25.0,
        shift_ms: float = 10.0, window: str = "hanning", preemphasis: float = 0.97, remove_dc: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.bins, self.dtype, self.preemphasis, self.remove_dc = bins, dtype, preemphasis, remove_dc
        self.width, self.shift = int(rate * frame_ms * 0.001), int(rate * shift_ms * 0.001)
        if self.width < 2 or self.shift < 1 or bins < 1:
            raise RecipeError(f"frames of {frame_ms} ms every {shift_ms} ms, {bins} bands: too little to compute")
        self.points = 1 << (self.width - 1).bit_length()
        self._window = torch.from_numpy(_window(window, self.width)).to(dtype)
        self._bands = in_bands(kaldi_bank(bins, self.points, rate, low, high), dtype)

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return 0 if samples < self.width else 1 + (samples - self.width) // self.shift

    def samples(self, frames: int) -> int:
        """The samples that so many frames need."""
        return (frames - 1) * self.shift + self.width

    def __call__(self, wave: Tensor) -> Tensor:
        """(S,) -> (T, bins). Fewer samples than one frame has give (0, bins)."""
        count = self.frames(len(wave))
        if count == 0:
            return torch.zeros(0, self.bins, dtype=self.dtype)
        wave = wave.to(self.dtype).contiguous()
        kept = 1.0 - self.preemphasis
        sharp = torch.empty_like(wave)
        torch.sub(wave[1:], wave[:-1], alpha=self.preemphasis, out=sharp[1:])
        sharp[0] = kept * wave[0]
        plain, sharp = (one.as_strided((count, self.width), (self.shift, 1)) for one in (wave, sharp))
        means = plain.mean(1) if self.remove_dc else None
        out = torch.empty(count, self.bins, dtype=self.dtype)
        buffer = torch.zeros(min(_BLOCK, count), self.points, dtype=self.dtype)
        for at in range(0, count, _BLOCK):
            stop = min(at + _BLOCK, count)
            block = buffer[: stop - at]
            frames = block[:, : self.width]
            torch.mul(sharp[at:stop], self._window, out=frames)
            frames[:, 0] = plain[at:stop, 0] * (kept * self._window[0])
            if means is not None:
                frames.addr_(means[at:stop], self._window, alpha=-kept)
            _into_bands(block, self._bands, out[at:stop])
        return out.clamp_min_(_FLOOR).log_()


class LogMel:
    """log(mel power + floor) of a centred short-time spectrum: what TERA and s3prl's models are given.

    rate: samples a second. bins: bands. low, high: Hz. frame_ms, shift_ms: of the frames, hann window, as many FFT
    points as a frame has samples; the signal is mirrored at its ends. level: the RMS the signal is scaled to, in dB
    (None leaves it). floor: added before the logarithm. dtype: of the arithmetic.
    """

    def __init__(
        self, *, rate: int = 16_000, bins: int = 80, low: float = 0.0, high: float = 0.0, frame_ms: float = 25.0,
        shift_ms: float = 10.0, level: float | None = -25.0, floor: float = 1e-10, dtype: torch.dtype = torch.float32,
    ) -> None:
        self.bins, self.dtype, self.floor, self.level = bins, dtype, floor, level
        self.width, self.shift = round(rate * frame_ms / 1000), round(rate * shift_ms / 1000)
        if self.width < 2 or self.shift < 1 or bins < 1:
            raise RecipeError(f"frames of {frame_ms} ms every {shift_ms} ms, {bins} bands: too little to compute")
        self._window = torch.hann_window(self.width, dtype=torch.float64).to(dtype)
        self._bands = in_bands(htk_bank(bins, self.width, rate, low, high), dtype)

    def frames(self, samples: int) -> int:
        """Frames of so many samples."""
        return 0 if samples <= self.width // 2 else 1 + samples // self.shift

    def samples(self, frames: int) -> int:
        """The samples that give so many frames."""
        return (frames - 1) * self.shift

    def __call__(self, wave: Tensor) -> Tensor:
        """(S,) -> (T, bins). Half a frame cannot be mirrored: (0, bins)."""
        count = self.frames(len(wave))
        if count == 0:
            return torch.zeros(0, self.bins, dtype=self.dtype)
        wave = wave.to(self.dtype)
        if self.level is not None:
            loud = math.sqrt(float(wave.double().square().mean()))
            wave = wave * (10.0 ** (self.level / 20.0) / (loud + 1e-10))
        half = self.width // 2
        wave = torch.nn.functional.pad(wave[None, None], (half, half), mode="reflect")[0, 0].contiguous()
        framed = wave.as_strided((count, self.width), (self.shift, 1))
        out = torch.empty(count, self.bins, dtype=self.dtype)
        for at in range(0, count, _BLOCK):
            stop = min(at + _BLOCK, count)
            _into_bands(framed[at:stop] * self._window, self._bands, out[at:stop])
        return out.add_(self.floor).log_()


def deltas(features: Tensor, reach: int = 2) -> Tensor:
    """The slope of each bin over ``2 reach + 1`` frames, ends repeated. (T, M) -> (T, M)."""
    count = len(features)
    wide = torch.cat([features[:1].expand(reach, -1), features, features[-1:].expand(reach, -1)])
    made = torch.zeros_like(features)
    for step in range(1, reach + 1):
        made.add_(wide[reach + step : reach + step + count] - wide[reach - step : reach - step + count], alpha=step)
    return made / (2 * sum(step * step for step in range(1, reach + 1)))


def _into_bands(frames: Tensor, bands: list[Bands], out: Tensor) -> None:
    """Windowed frames (T, points) -> their power in each band, written into ``out`` (T, bins)."""
    power = torch.view_as_real(torch.fft.rfft(frames)).flatten(1).square_()
    for at, low, high, weight in bands:
        torch.mm(power[:, 2 * low : 2 * high], weight, out=out[:, at : at + weight.shape[1]])


def _window(name: str, width: int) -> np.ndarray:
    """A symmetric window, float64."""
    angle = 2 * np.pi * np.arange(width) / (width - 1)
    if name in ("hanning", "povey"):
        hann = 0.5 - 0.5 * np.cos(angle)
        return hann if name == "hanning" else hann**0.85
    if name == "hamming":
        return 0.54 - 0.46 * np.cos(angle)
    if name == "blackman":
        return 0.42 - 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle)
    if name == "rectangular":
        return np.ones(width)
    raise RecipeError(f"window '{name}' is unknown; there are {', '.join(WINDOWS)}")
