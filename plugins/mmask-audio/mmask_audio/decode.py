"""Decoders of recordings: which part of a sample is read, which stretch of it, and in what form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from mmask.api import Keys, RecipeError, Sample, SampleError
from mmask_audio.sound import EXTENSIONS, Sound, open_sound
from mmask_audio.stretch import length_at, read_stretch


class Clip(NamedTuple):
    """What was read: (C, S) float32 at the decoder's rate, and the sample of the recording it starts at."""

    wave: np.ndarray
    start: int


@dataclass(kw_only=True)
class Reading:
    """Options that all decoders of recordings share.

    rate: samples a second after resampling. channels: ``mono`` (the mean), ``first`` or ``stereo``. seconds: longer
    recordings are cropped to it; None reads them whole. crop: where the crop of a training pass lies, ``random`` (drawn
    from the sample's key), ``start`` or ``centre``. crop_eval: the same in evaluation, or ``none``: whole. min_seconds:
    shorter recordings go to the ledger. max_seconds: longer ones too, by what their header says. extensions: parts of
    a sample to look for, in this order. whole: crop nothing, as transcripts want it, whatever ``seconds`` says.
    """

    rate: int = 16_000
    channels: Literal["mono", "first", "stereo"] = "mono"
    seconds: float | None = None
    crop: Literal["random", "start", "centre"] = "random"
    crop_eval: Literal["centre", "start", "none"] = "centre"
    min_seconds: float = 0.0
    max_seconds: float | None = None
    extensions: Sequence[str] = EXTENSIONS
    whole: bool = False

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise RecipeError(f"rate = {self.rate} must be at least 1 sample a second")
        if self.seconds is not None and round(self.seconds * self.rate) < 1:
            raise RecipeError(f"seconds = {self.seconds} must hold at least one sample")
        if self.max_seconds is not None and self.max_seconds < self.min_seconds:
            raise RecipeError(f"max_seconds = {self.max_seconds} lies below min_seconds = {self.min_seconds}")
        self.extensions = tuple(one.lower().lstrip(".") for one in self.extensions)
        if not self.extensions:
            raise RecipeError("a decoder of recordings needs at least one extension")

    def longest(self) -> int | None:
        """Samples of a crop; None reads everything."""
        return None if self.seconds is None or self.whole else round(self.seconds * self.rate)

    def read(self, sample: Sample, keys: Keys | None) -> Clip:
        """The stretch of the sample's recording that these keys ask for. Raises SampleError."""
        part = next((one for one in self.extensions if one in sample.parts), None)
        if part is None:
            raise SampleError(
                f"{sample.id} has no recording; its parts are {', '.join(sorted(sample.parts))}",
                hint="set the decoder's 'extensions'",
            )
        try:
            sound = open_sound(sample.parts[part], part.rpartition(".")[2])
            start, count = self._stretch(sound, keys)
            wave = read_stretch(sound, self.rate, start, count, self.channels)
            check_finite(wave)
        except SampleError as error:
            raise SampleError(f"{sample.id}.{part}: {error.message}", hint=error.hint) from error
        return Clip(wave, start)

    def _stretch(self, sound: Sound, keys: Keys | None) -> tuple[int, int]:
        total, lasts = length_at(sound, self.rate), sound.frames / sound.rate
        if total < 1:
            raise SampleError("the recording is empty")
        if lasts < self.min_seconds:
            raise SampleError(f"too short: {lasts:.3f} s, min_seconds is {self.min_seconds:g}")
        if self.max_seconds is not None and lasts > self.max_seconds:
            raise SampleError(f"too long: {lasts:.1f} s, max_seconds is {self.max_seconds:g}")
        return place_crop(total, self.longest(), keys, self.crop if keys is not None else self.crop_eval)


def place_crop(total: int, longest: int | None, keys: Keys | None, where: str) -> tuple[int, int]:
    """(start, count) of a crop of at most ``longest`` of ``total`` units. where: as `Reading.crop`, or ``none``."""
    if longest is None or total <= longest or where == "none":
        return 0, total
    spare = total - longest
    if where == "start":
        return 0, longest
    if where == "random" and keys is not None:
        return int(keys.integers("audio.crop", 1, 0, spare + 1)[0, 0]), longest
    return spare // 2, longest


def check_finite(wave: np.ndarray) -> None:
    """Raises SampleError for NaN and infinite values, and for numbers no recording has."""
    flat = wave.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        energy = float(np.dot(flat, flat))  # one pass; it is not finite when any value is not
    if not math.isfinite(energy):
        raise SampleError("the recording holds NaN, infinite or absurdly large values")


@dataclass(kw_only=True)
class AudioDecoder(Reading):
    """Makes the field ``audio``, float32, (S,) or, for stereo, (2, S); and ``audio.length``, the samples that are real.

    normalize: subtract the mean of what was read and divide by its deviation (wav2vec 2.0 of layer-norm features; eps
    1e-7, padding left out). pad: fill up to ``seconds`` at the end: ``none`` (a batch is ragged), ``zeros`` or
    ``repeat`` (the recording again). A padded recording's length stays that of the recording; repeated, it is whole.
    With keys also ``augment.audio``: the crop's first sample. The other options are those of `Reading`:

    rate: samples a second. channels: ``mono``, ``first`` or ``stereo``. seconds: the longest stretch. crop: ``random``,
    ``start``, ``centre``; crop_eval: ``centre``, ``start``, ``none``. min_seconds, max_seconds: what is refused.
    extensions: parts to look for. whole: crop nothing, and pad nothing. Raises SampleError.
    """

    normalize: bool = False
    pad: Literal["none", "zeros", "repeat"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad != "none" and self.seconds is None:
            raise RecipeError(f"pad = '{self.pad}' fills up to 'seconds', which is not set")

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``audio``, ``audio.length``; with keys also ``augment.audio``."""
        clip = self.read(sample, keys)
        wave = standardised(clip.wave) if self.normalize else clip.wave
        length = wave.shape[1]
        if self.pad == "repeat":
            wave = np.resize(wave.T, (max(self.longest() or 0, length), wave.shape[0])).T
            length = wave.shape[1]
        elif self.pad == "zeros":
            wave = np.pad(wave, ((0, 0), (0, max(0, (self.longest() or 0) - length))))
        made = torch.from_numpy(np.require(wave, np.float32, ["C", "W"]))
        fields: dict[str, Any] = {"audio": made if self.channels == "stereo" else made[0], "audio.length": length}
        if keys is not None:
            fields["augment.audio"] = np.array([clip.start], np.int64)
        return fields

    def raw(self) -> AudioDecoder:
        """The same without normalisation: what statistics are taken of."""
        return type(self)(**{**vars(self), "normalize": False})


def standardised(wave: np.ndarray, eps: float = 1e-7) -> np.ndarray:
    """(C, S) of mean 0 and variance 1 over all its values."""
    return (wave - wave.mean(dtype=np.float64)).astype(np.float32) / np.float32(math.sqrt(float(wave.var()) + eps))
