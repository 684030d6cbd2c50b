"""Log-mel features of waveforms: Kaldi's fbank, and a centred short-time spectrum.

Both are one sequence of operations on blocks of frames that stay in the cache: frames are views of the signal, the
last step before the FFT writes into a buffer that is already padded for it, the squares of the spectrum's real and
imaginary parts go straight into a matrix product with the bands, whose zeros are skipped. All that does not depend on
the signal is made once.

What is done to a frame before its FFT is done in the order, and with the roundings, of Kaldi's successors: mean, then
pre-emphasis in two steps, then a window made in the precision of the arithmetic. In float32 the bands that are
nearly silent consist of such roundings, and any other order, though as good, moves them by more than 1e-4.
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
        self._window = _window(window, self.width, dtype)
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
        framed = wave.to(self.dtype).contiguous().as_strided((count, self.width), (self.shift, 1))
        out = torch.empty(count, self.bins, dtype=self.dtype)
        buffer = torch.zeros(min(_BLOCK, count), self.points, dtype=self.dtype)
        room = torch.empty(2, len(buffer), self.width, dtype=self.dtype)
        for at in range(0, count, _BLOCK):
            stop = min(at + _BLOCK, count)
            block = buffer[: stop - at]
            self._prepare(framed[at:stop], room[:, : stop - at], block[:, : self.width])
            _into_bands(block, self._bands, out[at:stop])
        return out.clamp_min_(_FLOOR).log_()

    def _prepare(self, frames: Tensor, room: Tensor, out: Tensor) -> None:
        """Frames (T, width) without their mean, pre-emphasised and windowed, into ``out``. room: (2, T, width)."""
        if self.remove_dc:
            frames = torch.sub(frames, frames.mean(1, keepdim=True), out=room[0])
        if self.preemphasis:
            before = torch.mul(frames, self.preemphasis, out=room[1])
            torch.sub(frames[:, 1:], before[:, :-1], out=out[:, 1:])
            torch.sub(frames[:, :1], before[:, :1], out=out[:, :1])  # before the first sample lies the first
            frames = out
        torch.mul(frames, self._window, out=out)


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
        self._window = torch.hann_window(self.width, dtype=dtype)
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


def _window(name: str, width: int, dtype: torch.dtype) -> Tensor:
    """A symmetric window."""
    if name in ("hanning", "povey"):
        hann = torch.hann_window(width, periodic=False, dtype=dtype)
        return hann if name == "hanning" else hann.pow(0.85)
    if name == "hamming":
        return torch.hamming_window(width, periodic=False, dtype=dtype)
    if name == "blackman":
        angle = torch.arange(width, dtype=dtype) * (2 * math.pi / (width - 1))
        return 0.42 - 0.5 * angle.cos() + 0.08 * (2 * angle).cos()
    if name == "rectangular":
        return torch.ones(width, dtype=dtype)
    raise RecipeError(f"window '{name}' is unknown; there are {', '.join(WINDOWS)}")
