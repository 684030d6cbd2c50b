"""Stored recordings: what their header says, and any stretch of them as float32.

libsndfile (soundfile) reads what it can, and only the stretch that is asked for; FFmpeg (PyAV) reads the rest, whole,
because its containers cannot be sought to the sample.
"""

from __future__ import annotations

import io
import struct
from typing import Any, Protocol

import numpy as np

from mmask.api import SampleError

SOUNDFILE = ("wav", "flac", "ogg", "oga", "opus", "mp3", "aiff", "aif", "au", "caf", "w64", "rf64")
FFMPEG = {
    "m4a": "mp4", "mp4": "mp4", "aac": "aac", "g722": "g722", "wma": "asf", "webm": "matroska", "mka": "matroska",
    "amr": "amr", "ac3": "ac3",
}
"""Endings that go to FFmpeg at once -> its container; a raw ``.g722`` stream has no header to guess from."""
EXTENSIONS = (*SOUNDFILE, *FFMPEG)

_FALLBACK = {"wav": "wav", "flac": "flac", "ogg": "ogg", "oga": "ogg", "opus": "ogg", "mp3": "mp3", "aiff": "aiff",
             "aif": "aiff", "au": "au", "caf": "caf", "w64": "w64"}
_UNSTATED = 0x7FFF0000  # sizes from here on are what a writer puts that cannot go back
_MOST = 1 << 28  # numbers decoded at once: 1 GiB


class Sound(Protocol):
    """An open recording. rate: samples a second. frames: samples of one channel."""

    rate: int
    channels: int
    frames: int

    def read(self, start: int, count: int) -> np.ndarray:
        """(count, channels) float32 in [-1, 1] from sample ``start`` on. Raises SampleError."""
        ...


def open_sound(data: bytes, extension: str) -> Sound:
    """A recording in memory. extension: without a dot. Raises SampleError for what is empty or no audio."""
    if not data:
        raise SampleError("the part is empty")
    if extension in FFMPEG:
        return _Ffmpeg(data, FFMPEG[extension])
    import soundfile

    _whole_wav(data)
    try:
        return _Libsndfile(data)
    except soundfile.LibsndfileError as error:
        if extension not in _FALLBACK:
            raise SampleError(f"not audio that can be read: {error.error_string}") from error
        try:
            return _Ffmpeg(data, _FALLBACK[extension])  # rare codecs in common containers
        except SampleError as also:
            raise SampleError(f"not audio that can be read: {error.error_string}; {also.message}") from error


class _Libsndfile:
    def __init__(self, data: bytes) -> None:
        import soundfile

        self._file: Any = soundfile.SoundFile(io.BytesIO(data))
        self.rate, self.channels, self.frames = self._file.samplerate, self._file.channels, self._file.frames

    def read(self, start: int, count: int) -> np.ndarray:
        """As `Sound`."""
        import soundfile

        _check_size(count, self.channels)
        try:
            if start != self._file.tell():
                self._file.seek(start)
            found: np.ndarray = self._file.read(count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise SampleError(f"damaged at or after {start / self.rate:.2f} s: {error}") from error
        if len(found) < count:
            raise SampleError(
                f"cut off: {(start + len(found)) / self.rate:.2f} s of the {self.frames / self.rate:.2f} s that its "
                "header says"
            )
        return found


class _Ffmpeg:
    def __init__(self, data: bytes, container: str) -> None:
        self._samples, self.rate = _decode(data, container)
        self.frames, self.channels = self._samples.shape

    def read(self, start: int, count: int) -> np.ndarray:
        """As `Sound`."""
        return self._samples[start : start + count]


def _decode(data: bytes, container: str) -> tuple[np.ndarray, int]:
    """The whole recording (n, channels) float32, and its rate."""
    import av

    pieces: list[np.ndarray] = []
    size = 0
    try:
        with av.open(io.BytesIO(data), mode="r", format=container) as file:
            if not file.streams.audio:
                raise SampleError("the file has no sound track")
            stream = file.streams.audio[0]
            rate = int(stream.rate)
            change = av.AudioResampler(format="fltp")
            for frame in file.decode(stream):
                for made in change.resample(frame):
                    pieces.append(made.to_ndarray())
                    size += pieces[-1].size
                    _check_size(size, 1)
            pieces += [made.to_ndarray() for made in change.resample(None)]
    except (av.FFmpegError, ValueError, TypeError, ZeroDivisionError) as error:
        raise SampleError(f"FFmpeg: {error}") from error
    if not pieces:
        raise SampleError("FFmpeg finds no sound in it")
    return np.ascontiguousarray(np.concatenate(pieces, axis=1).T, np.float32), rate


def _whole_wav(data: bytes) -> None:
    """Raises SampleError for a WAV whose sound chunk ends after the file: libsndfile shortens it without a word.

    A chunk of no stated size, as writers to a pipe leave it, is as long as what follows.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(data):
        name, (size,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        if name == b"data":
            if size < _UNSTATED and at + 8 + size > len(data):
                raise SampleError(f"cut off: {len(data) - at - 8:,} bytes of the {size:,} that its header says")
            return
        at += 8 + size + size % 2


def _check_size(count: int, channels: int) -> None:
    if count * channels > _MOST:
        raise SampleError(
            f"{count:,} samples of {channels} channels are more than is decoded at once",
            hint="set 'seconds', so that a crop is read",
        )
