"""Triangular filters on the mel scale, as matrices from spectra to bands."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mmask.api import RecipeError

_TOGETHER = 16  # bands of one product: neighbours share most of their bins


class Bands(NamedTuple):
    """Bands ``at:at + n`` of a filter bank, and the bins ``low:high`` that are not 0 for all of them.

    weight: (2 (high - low), n): each bin twice, for the squares of the real and of the imaginary part.
    """

    at: int
    low: int
    high: int
    weight: Tensor


def kaldi_bank(bins: int, points: int, rate: int, low: float, high: float) -> Tensor:
    """Kaldi's filters: triangles of equal width in mel = 1127 ln(1 + f / 700), their slopes straight in mel; the
    highest bin of the spectrum is left out. high: 0 or less counts from half the rate. -> (points // 2 + 1, bins).

    Like every bank here in float32, step by step: other implementations round there too, and a weight that is off
    by 1e-4 shows in the logarithm of a narrow band.
    """
    top = high if high > 0 else rate / 2 + high
    _check(low, top, rate)
    first, last = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (low, top))
    edges = first + torch.arange(bins + 2) * ((last - first) / (bins + 1))
    mels = 1127.0 * (1.0 + (torch.arange(points // 2) * (rate / points)) / 700.0).log()
    return functional.pad(_triangles(mels, edges), (0, 0, 0, 1))


def htk_bank(bins: int, points: int, rate: int, low: float, high: float) -> Tensor:
    """HTK's scale, mel = 2595 log10(1 + f / 700), with slopes straight in Hz. high: 0 or less as in `kaldi_bank`.
    -> (points // 2 + 1, bins) float32."""
    top = high if high > 0 else rate / 2 + high
    _check(low, top, rate)
    first, last = (2595.0 * math.log10(1.0 + hertz / 700.0) for hertz in (low, top))
    edges = 700.0 * (10.0 ** (torch.linspace(first, last, bins + 2) / 2595.0) - 1.0)
    return _triangles(torch.linspace(0, rate // 2, points // 2 + 1), edges)


def in_bands(bank: Tensor, dtype: torch.dtype) -> list[Bands]:
    """The bank cut into groups of neighbouring bands, without the zeros outside each group."""
    found = []
    for at in range(0, bank.shape[1], _TOGETHER):
        part = bank[:, at : at + _TOGETHER]
        used = part.any(dim=1).nonzero().flatten().tolist()
        low, high = (used[0], used[-1] + 1) if used else (0, 1)
        found.append(Bands(at, low, high, part[low:high].repeat_interleave(2, dim=0).to(dtype)))
    return found


def _triangles(places: Tensor, edges: Tensor) -> Tensor:
    """Weights of ``places`` (K,) in triangles between every third of ``edges`` (bins + 2,). -> (K, bins)."""
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (places[:, None] - left) / (centre - left)
    falling = (right - places[:, None]) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0.0)


def _check(low: float, top: float, rate: int) -> None:
    if not 0 <= low < top <= rate / 2:
        raise RecipeError(f"bands from {low:g} to {top:g} Hz do not fit a rate of {rate} Hz")
