"""A stored video: which frames it has, and reading some of them without decoding the rest."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from mmask.api import SampleError


@dataclass(frozen=True)
class Survey:
    """What the packets of a video say, read without decoding.

    times: presentation time of each frame, ascending, in units of ``tick`` seconds. starts: those of key frames.
    """

    times: np.ndarray
    starts: np.ndarray
    tick: float
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.times)

    def between(self, start: float, end: float) -> tuple[int, int]:
        """(first, last + 1) frames that begin from ``start`` to ``end``, in seconds from the first frame; of a part
        between two of them the one that is shown."""
        seconds = (self.times - self.times[0]) * self.tick
        first, last = int(np.searchsorted(seconds, start, "left")), int(np.searchsorted(seconds, end, "right"))
        return (first - 1, last) if start <= end and 0 < first == last < len(self) else (first, last)


class Video:
    """A video in memory. Raises SampleError for bytes that hold none.

    max_pixels: larger frames are refused before any is decoded. Frames are turned by the quarter turns that the
    container asks of players, as telephones write them; `Survey` has the sides before that.
    """

    def __init__(self, data: bytes, *, max_pixels: int = 1 << 24) -> None:
        try:
            self._container: Any = av.open(io.BytesIO(data), mode="r")
        except (av.FFmpegError, ValueError) as error:
            raise SampleError(f"not a video: {error}") from error
        try:
            self._stream: Any = self._first_stream(max_pixels)
            self._stream.thread_type = "NONE"  # one thread a sample: workers run side by side
            codec = self._stream.codec_context
            self.survey = self._survey(codec.height, codec.width)
        except BaseException:
            self._container.close()
            raise

    def _first_stream(self, max_pixels: int) -> Any:
        if not self._container.streams.video:
            raise SampleError("not a video: no stream of pictures is in it")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise SampleError("no decoder for this video is built into PyAV")
        height, width = stream.codec_context.height, stream.codec_context.width
        if not 0 < height * width <= max_pixels:
            raise SampleError(f"frames of {width}x{height} pixels; the limit is {max_pixels} pixels")
        return stream

    def _survey(self, height: int, width: int) -> Survey:
        times, starts = [], []
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and packet.size:
                    if not packet.is_discard:  # before the start of a film that was cut without encoding it again
                        times.append(packet.pts)
                    if packet.is_keyframe:
                        starts.append(packet.pts)
        except av.FFmpegError as error:
            if not times:
                raise SampleError(f"not a readable video: {error}") from error
        if not times or not starts:
            raise SampleError("a video without a frame that can be decoded on its own")
        return Survey(np.unique(times), np.unique(starts), float(self._stream.time_base), height, width)

    def frames(self, wanted: Sequence[int]) -> list[np.ndarray]:
        """Frames by number, ascending, each (H, W, 3) uint8; a number may come more than once.

        Decodes from the key frame at or before each wanted frame, and skips from one to the next by seeking where
        a key frame lies between. At most the wanted frames are held at a time. Raises SampleError.
        """
        distinct = sorted(set(wanted))
        found: dict[int, np.ndarray] = {}
        try:
            for number, frame in self._walk([int(self.survey.times[i]) for i in distinct]):
                found[distinct[number]] = frame
        except av.FFmpegError as error:
            raise SampleError(f"frame {distinct[len(found)]} of {len(self.survey)}: {error}") from error
        if len(found) < len(distinct):
            raise SampleError(f"the video ends before frame {distinct[len(found)]} of {len(self.survey)}")
        return [found[number] for number in wanted]

    def _walk(self, times: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, frame) of each of the ascending ``times``."""
        decoding: Iterator[Any] = iter(())
        reached = -1  # index of the key frame the decoder started from
        for number, time in enumerate(times):
            key = int(np.searchsorted(self.survey.starts, time, "right")) - 1
            if number == 0 or key > reached:
                reached = max(key, 0)
                self._container.seek(int(self.survey.starts[reached]), stream=self._stream, backward=True)
                decoding = self._container.decode(self._stream)
            frame = next((one for one in decoding if one.pts is not None and one.pts >= time), None)
            if frame is None:
                return
            yield number, self._pixels(frame)

    def _pixels(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8. A stream may change its size in the middle; such frames do not make a clip."""
        if (frame.height, frame.width) != (self.survey.height, self.survey.width):
            raise SampleError(
                f"a frame of {frame.width}x{frame.height} in a video of {self.survey.width}x{self.survey.height}"
            )
        # one thread: by default every frame starts a pool for its colours, at several times the cost of a small one
        pixels = np.asarray(frame.to_ndarray(format="rgb24", threads=1))
        turns = round(frame.rotation / 90) % 4  # degrees against the clock
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

    def close(self) -> None:
        """Give the decoder back."""
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
