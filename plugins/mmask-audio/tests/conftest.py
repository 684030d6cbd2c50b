"""Small recordings, samples of them, and torchaudio to compare with."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType

import av
import numpy as np
import pytest
import soundfile
import torch

from mmask import testing
from mmask.api import MaskedModel, Sample, SampleId


@pytest.fixture(scope="session")
def tone() -> Callable[..., np.ndarray]:
    """(S,) float32: a few sliding partials and some noise, different for each seed."""

    def make(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        at = np.arange(round(seconds * rate)) / rate
        wave = sum(0.2 / k * np.sin(2 * np.pi * k * (200 + 60 * at) * at + rng.uniform(0, 6)) for k in range(1, 6))
        return (wave + 0.01 * rng.standard_normal(len(at))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def stored() -> Callable[..., bytes]:
    """(S,) or (S, C) -> the bytes of a file of that format."""

    def make(wave: np.ndarray, extension: str = "wav", rate: int = 16_000) -> bytes:
        to = io.BytesIO()
        if extension in ("g722", "m4a"):
            _with_ffmpeg(to, wave, extension, rate)
            return to.getvalue()
        kind, subtype = {
            "wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
            "mp3": ("MP3", "MPEG_LAYER_III"),
        }[extension]
        soundfile.write(to, wave, rate, format=kind, subtype=subtype)
        return to.getvalue()

    return make


def _with_ffmpeg(to: io.BytesIO, wave: np.ndarray, extension: str, rate: int) -> None:
    codec, container = {"g722": ("g722", "g722"), "m4a": ("aac", "mp4")}[extension]
    with av.open(to, mode="w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        for at in range(0, len(wave), 320):
            pcm = np.ascontiguousarray((wave[None, at : at + 320] * 32767).astype(np.int16))
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    """Parts -> a sample."""

    def make(key: str = "a", visit: int = 0, **parts: bytes) -> Sample:
        named = {name.replace("_", "."): data for name, data in parts.items()}
        return Sample(SampleId("s", "t.tar", key), named, visit)

    return make


@pytest.fixture(scope="session")
def torchaudio() -> ModuleType:
    """torchaudio. Its releases refuse to be imported beside a torch of another CUDA, which does not matter here."""
    cuda, torch.version.cuda = torch.version.cuda, None
    try:
        import torchaudio
        import torchaudio.compliance.kaldi
    finally:
        torch.version.cuda = cuda
    return torchaudio


@pytest.fixture(scope="session")
def build() -> Callable[..., MaskedModel]:
    return testing.build
