"""The audio packer: recordings as they are, or at another rate as FLAC, with their length; and their features."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmask.api import RecipeError, SampleError
from mmask_audio.decode import check_finite
from mmask_audio.fbank import KaldiFbank, LogMel
from mmask_audio.sound import EXTENSIONS, open_sound
from mmask_audio.stretch import Channels, length_at, read_stretch

_FEATURE_RATE = 16_000
_MEANT = ("label", "caption", "transcript")  # columns with parts of their own


class AudioPacker:
    """One recording -> a part named after its format, and ``json`` with its ``seconds``, ``rate`` and the manifest's
    other columns. A column ``transcript`` becomes ``txt``. The recording is decoded whole, so that a damaged one is
    found now and not in the middle of a run; indices get the column ``seconds``.

    rate: samples a second of the FLAC that is written; None keeps every file byte for byte. channels: of that FLAC,
    ``mono``, ``first`` or ``stereo``. bits: of it, 16 or 24. features: also store ``fbank.npy`` (Kaldi's, hanning
    window, mean of the recording removed) or ``mel.npy`` (log-mel spectrum at RMS -25 dB), at 16 kHz, 10 ms. audio:
    false stores the features without the recording. bins: of the features. half: store them in 16 bits. min_seconds:
    shorter recordings are not packed. Raises SampleError.
    """

    extensions = EXTENSIONS
    columns = ("seconds=json.seconds",)

    def __init__(
        self, *, rate: int | None = None, channels: Channels = "mono", bits: Literal[16, 24] = 16,
        features: Literal["none", "fbank", "mel"] = "none", bins: int | None = None, half: bool = True,
        audio: bool = True, min_seconds: float = 0.0,
    ) -> None:
        if rate is not None and rate < 1:
            raise RecipeError(f"rate = {rate} must be at least 1 sample a second")
        if not audio and features == "none":
            raise RecipeError("audio = false leaves nothing to store", hint="set features to 'fbank' or 'mel'")
        self.rate, self.channels, self.bits, self.min_seconds = rate, channels, bits, min_seconds
        self.features, self.half, self.audio = features, half, audio
        self.bins = bins or (128 if features == "fbank" else 80)

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The parts to store."""
        data, extension = path.read_bytes(), path.suffix.lower().lstrip(".")
        try:
            sound = open_sound(data, extension)
            seconds = sound.frames / sound.rate
            if not sound.frames or seconds < self.min_seconds:
                raise SampleError(f"too short: {seconds:.3f} s")
            rate = self.rate or sound.rate
            wave = read_stretch(sound, rate, 0, length_at(sound, rate), self.channels)
            check_finite(wave)
        except SampleError as error:
            raise SampleError(f"{path}: {error.message}", hint=error.hint) from error
        parts: dict[str, bytes] = {}
        if self.audio:
            parts.update({extension: data} if self.rate is None else {"flac": encoded(wave, rate, self.bits)})
        if self.features != "none":
            at_rate = wave if rate == _FEATURE_RATE and self.channels == "mono" else None
            if at_rate is None:
                at_rate = read_stretch(sound, _FEATURE_RATE, 0, length_at(sound, _FEATURE_RATE), "mono")
            parts[f"{self.features}.npy"] = self._stored(at_rate[0])
        about = {name: value for name, value in row.items() if name not in _MEANT and _is_plain(value)}
        about |= {"seconds": round(seconds, 4), "rate": rate}
        parts["json"] = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
        if row.get("transcript"):
            parts["txt"] = str(row["transcript"]).encode()
        return parts

    def _stored(self, wave: np.ndarray) -> bytes:
        make: KaldiFbank | LogMel = KaldiFbank(bins=self.bins) if self.features == "fbank" else LogMel(bins=self.bins)
        sound = torch.from_numpy(np.ascontiguousarray(wave))
        frames = make(sound - sound.mean() if self.features == "fbank" else sound).numpy()
        if not len(frames):
            raise SampleError("too short for one frame of features")
        to = io.BytesIO()
        np.save(to, frames.astype(np.float16 if self.half else np.float32))
        return to.getvalue()


def encoded(wave: np.ndarray, rate: int, bits: int = 16) -> bytes:
    """(C, S) float32 in [-1, 1] as FLAC; louder values are clipped."""
    import soundfile

    to = io.BytesIO()
    soundfile.write(to, np.clip(wave.T, -1.0, 1.0), rate, format="FLAC", subtype=f"PCM_{bits}")
    return to.getvalue()


def _is_plain(value: Any) -> bool:
    return value not in (None, "") and not isinstance(value, bytes)
