"""Decoders of features: recordings to log-mel frames, or frames that were stored."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from mmask.api import Keys, RecipeError, Sample, SampleError
from mmask_audio.decode import Reading, place_crop
from mmask_audio.fbank import KaldiFbank, LogMel, deltas
from mmask_audio.normalise import cmvn, normaliser_of


@dataclass(kw_only=True)
class Framing:
    """Options that all decoders of features share: what happens to the frames (T, M) once they are there.

    field: the name they get. frames: longer ones are cut to so many; None keeps all. pad: fill up to ``frames`` with 0,
    before normalisation by ``mean`` and after ``cmvn``, as SSAST and TERA do. deltas: 0, 1 or 2 slopes over time beside
    the bins. cmvn: each bin of the recording gets mean 0 and deviation 1. mean, std, spread: (x - mean) / (spread std),
    numbers or one for each bin. stats: a file of ``mmask data stats`` in place of both; per_bin: its numbers of each
    bin. freq_mask, time_mask: widest band of bins and of frames that SpecAugment (Park et al. 2019) sets to 0 before
    normalisation by ``mean``, in training passes only; 0 is off. Frames fewer than min_frames go to the ledger. whole:
    cut nothing, as transcripts want it; where ``pad`` asks for one size, what is longer goes to the ledger.
    """

    field: str = "features"
    frames: int | None = None
    pad: bool = False
    deltas: Literal[0, 1, 2] = 0
    cmvn: bool = False
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    spread: float = 1.0
    stats: str | None = None
    per_bin: bool = False
    freq_mask: int = 0
    time_mask: int = 0
    min_frames: int = 1
    whole: bool = False

    def check(self) -> None:
        """Raises RecipeError for options that contradict each other."""
        if self.frames is not None and self.frames < 1:
            raise RecipeError(f"frames = {self.frames} must be at least 1")
        if self.pad and self.frames is None:
            raise RecipeError("pad = true fills up to 'frames', which is not set")
        if self.freq_mask < 0 or self.time_mask < 0 or self.min_frames < 1:
            raise RecipeError("freq_mask and time_mask must not be negative, and min_frames at least 1")
        self.normaliser = normaliser_of(self)

    def finish(self, frames: Tensor, keys: Keys | None, start: int) -> dict[str, Any]:
        """(T, M) as computed -> the sample's fields. Raises SampleError."""
        count = len(frames)
        if count < self.min_frames:
            raise SampleError(f"too short: {count} frames, min_frames is {self.min_frames}")
        if self.whole and self.pad and self.frames is not None and count > self.frames:
            raise SampleError(
                f"too long: {count} frames, which may not be cut; {self.frames} are read",
                hint="pretrain with more frames, or leave long recordings out: a filter such as 'seconds < 10'",
            )
        stack = [frames]
        for _ in range(self.deltas):
            stack.append(deltas(stack[-1]))
        made = torch.cat(stack, dim=1) if self.deltas else frames
        made = cmvn(made) if self.cmvn else made
        if self.pad and self.frames is not None and count < self.frames:
            made = torch.nn.functional.pad(made, (0, 0, 0, self.frames - count))
        blank = self._blank(made, keys)
        if self.normaliser is not None:
            made = self.normaliser(made)
        fields: dict[str, Any] = {self.field: made, f"{self.field}.length": count}
        if keys is not None:
            fields[f"augment.{self.field}"] = np.array([start, *blank], np.int64)
        return fields

    def _blank(self, made: Tensor, keys: Keys | None) -> list[int]:
        """Set a band of bins and one of frames to 0, in place. -> first bin, bins, first frame, frames."""
        if keys is None or not (self.freq_mask or self.time_mask):
            return [0, 0, 0, 0]
        numbers = keys.uniform("audio.specaugment", 4)[0].tolist()
        found = []
        for axis, most in ((1, self.freq_mask), (0, self.time_mask)):
            size = made.shape[axis]
            width = min(int(numbers.pop(0) * (most + 1)), size)
            first = int(numbers.pop(0) * (size - width + 1))
            made.narrow(axis, first, width).zero_()
            found += [first, width]
        return found

    def raw(self) -> Self:
        """The same without normalisation and padding: what statistics are taken of."""
        plain: Any = self
        return replace(plain, mean=None, std=None, stats=None, pad=False)


@dataclass(kw_only=True)
class _Computed(Framing, Reading, ABC):
    """A recording's features. ``make``: the function from a waveform (S,) to frames (T, M)."""

    remove_mean: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        if self.channels == "stereo":
            raise RecipeError("features are of one channel", hint="set channels to 'mono' or 'first'")
        if self.frames is not None and self.seconds is not None:
            raise RecipeError("both 'frames' and 'seconds' are set", hint="either says how much is read")
        self.make = self.function()

    @abstractmethod
    def function(self) -> KaldiFbank | LogMel:
        """The function, made once."""

    def longest(self) -> int | None:
        """As many samples as ``frames`` need, or ``seconds``."""
        if self.frames is None or self.whole:
            return super().longest()
        return self.make.samples(self.frames)

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """The features, their length, and with keys ``augment.<field>``: the crop's first sample, first bin and number
        of bins, first frame and number of frames that SpecAugment blanked."""
        clip = self.read(sample, keys)
        wave = torch.from_numpy(np.ascontiguousarray(clip.wave[0]))
        frames = self.make(wave - wave.mean() if self.remove_mean else wave)
        try:
            kept = frames if self.frames is None or self.whole else frames[: self.frames]
            return self.finish(kept, keys, clip.start)
        except SampleError as error:
            raise SampleError(f"{sample.id}: {error.message}", hint=error.hint) from error


@dataclass(kw_only=True)
class FbankDecoder(_Computed):
    """Makes Kaldi's log-mel filter bank features (T, bins) float32 under ``field``, and ``<field>.length``.

    bins: bands. window: ``hanning``, ``povey``, ``hamming``, ``blackman``, ``rectangular``. frame_ms, shift_ms: of the
    frames. low, high: Hz; ``high`` of 0 or less counts from half the rate. preemphasis: 0 to 1. remove_dc: subtract
    each frame's mean. remove_mean: subtract the recording's mean first (SSAST, AST).

    frames, pad, deltas, cmvn, mean, std, spread, stats, per_bin, freq_mask, time_mask, min_frames, whole, field:
    `Framing`.
    rate, channels, seconds, crop, crop_eval, min_seconds, max_seconds, extensions: see `Reading`. Raises SampleError.
    """

    bins: int = 128
    window: Literal["hanning", "povey", "hamming", "blackman", "rectangular"] = "hanning"
    frame_ms: float = 25.0
    shift_ms: float = 10.0
    low: float = 20.0
    high: float = 0.0
    preemphasis: float = 0.97
    remove_dc: bool = True
    remove_mean: bool = True

    def function(self) -> KaldiFbank:
        """`KaldiFbank` with these options."""
        return KaldiFbank(
            rate=self.rate, bins=self.bins, low=self.low, high=self.high, frame_ms=self.frame_ms,
            shift_ms=self.shift_ms, window=self.window, preemphasis=self.preemphasis, remove_dc=self.remove_dc,
        )


@dataclass(kw_only=True)
class MelDecoder(_Computed):
    """Makes the log-mel spectrum (T, bins) float32 of TERA and s3prl under ``field``, and ``<field>.length``.

    bins: bands. frame_ms, shift_ms: of the frames. low, high: Hz. level: RMS in dB that the crop is scaled to; None
    leaves it. floor: added to the power before the logarithm. remove_mean: subtract the mean first. Each bin is
    normalised over the real frames unless ``cmvn`` is false.

    frames, pad, deltas, cmvn, mean, std, spread, stats, per_bin, freq_mask, time_mask, min_frames, whole, field:
    `Framing`.
    rate, channels, seconds, crop, crop_eval, min_seconds, max_seconds, extensions: see `Reading`. Raises SampleError.
    """

    bins: int = 80
    frame_ms: float = 25.0
    shift_ms: float = 10.0
    low: float = 0.0
    high: float = 0.0
    level: float | None = -25.0
    floor: float = 1e-10
    cmvn: bool = True

    def function(self) -> LogMel:
        """`LogMel` with these options."""
        return LogMel(
            rate=self.rate, bins=self.bins, low=self.low, high=self.high, frame_ms=self.frame_ms,
            shift_ms=self.shift_ms, level=self.level, floor=self.floor,
        )


@dataclass(kw_only=True)
class StoredFeatures(Framing):
    """Makes frames (T, M) float32 of a stored array, as ``mmask data pack --features fbank`` writes them.

    part: the ``.npy`` part, (T, M) of any real type. crop: where the crop of a training pass lies when there are more
    than ``frames``: ``random``, ``start`` or ``centre``. crop_eval: in evaluation, ``centre``, ``start`` or ``none``.
    frames, pad, deltas, cmvn, mean, std, spread, stats, per_bin, freq_mask, time_mask, min_frames, whole, field: see
    `Framing`. Raises SampleError.
    """

    part: str = "fbank.npy"
    crop: Literal["random", "start", "centre"] = "random"
    crop_eval: Literal["centre", "start", "none"] = "centre"

    def __post_init__(self) -> None:
        self.check()

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """As `FbankDecoder`."""
        try:
            frames = self._stored(sample)
            where = self.crop if keys is not None else self.crop_eval
            start, count = place_crop(len(frames), None if self.whole else self.frames, keys, where)
            return self.finish(torch.from_numpy(frames[start : start + count].astype(np.float32)), keys, start)
        except SampleError as error:
            raise SampleError(f"{sample.id}.{self.part}: {error.message}", hint=error.hint) from error

    def _stored(self, sample: Sample) -> np.ndarray:
        if self.part not in sample.parts:
            raise SampleError(f"no such part; it has {', '.join(sorted(sample.parts))}")
        try:
            frames: np.ndarray = np.load(io.BytesIO(sample.parts[self.part]), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise SampleError(f"not an array: {error}") from error
        if frames.ndim != 2 or frames.dtype.kind != "f" or 0 in frames.shape:
            raise SampleError(f"the array is {frames.shape} of {frames.dtype}, expected frames of features")
        if not np.isfinite(frames).all():
            raise SampleError("the array holds NaN or infinite values")
        return frames


