"""A stretch of a recording at another rate, without reading the rest of it."""

from __future__ import annotations

from math import gcd
from typing import Literal

import numpy as np

from mmask.api import SampleError
from mmask_audio.sound import Sound

_MARGIN = 0.05
"""Seconds read on both sides of a stretch that is resampled: longer than the filter."""

Channels = Literal["mono", "first", "stereo"]


def length_at(sound: Sound, rate: int) -> int:
    """Samples of the recording at ``rate``."""
    return sound.frames * rate // sound.rate


def read_stretch(sound: Sound, rate: int, start: int, count: int, channels: Channels = "mono") -> np.ndarray:
    """``count`` samples at ``rate`` from sample ``start`` on (both at ``rate``). -> (C, count) float32.

    channels: ``mono`` averages all, ``first`` takes the first, ``stereo`` takes two (a lone one twice). Resampling is
    soxr's high quality; a stretch agrees with the same part of the whole recording resampled at once.
    Raises SampleError.
    """
    if rate == sound.rate:
        return _mixed(sound.read(start, count), channels)
    step, each = sound.rate // gcd(rate, sound.rate), rate // gcd(rate, sound.rate)
    margin = int(_MARGIN * rate)
    block = max(0, start - margin) // each  # stored samples step * block lie exactly on samples each * block
    first = block * step
    last = min(sound.frames, -(-(start + count + margin) * sound.rate // rate))
    import soxr

    found = _mixed(sound.read(first, last - first), channels)
    made = np.asarray(soxr.resample(found.T, sound.rate, rate), np.float32).T
    cut = made[:, start - block * each : start - block * each + count]
    return np.pad(cut, ((0, 0), (0, count - cut.shape[1])))  # soxr may round the very end down by one


def _mixed(found: np.ndarray, channels: Channels) -> np.ndarray:
    """(n, C) -> (C', n)."""
    if channels == "first":
        return found[:, :1].T
    if channels == "mono":
        return found.T if found.shape[1] == 1 else found.mean(axis=1, dtype=np.float32)[None]
    if found.shape[1] > 2:
        raise SampleError(f"{found.shape[1]} channels are no stereo", hint="set channels to 'mono' or 'first'")
    return np.repeat(found.T, 2, axis=0) if found.shape[1] == 1 else found.T
