"""The video packer: video files as they are, or made smaller, for ``mmask data pack``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mmask.api import RecipeError, SampleError
from mmask_video.container import Video
from mmask_video.decode import EXTENSIONS


class VideoPacker:
    """One video file -> one part named after its format. Its packets are read and its first frame is decoded, so that
    what is no video is found now and not in the middle of a run.

    resize: shorter side in pixels that larger videos are reduced to; None keeps every file byte for byte, and so are
    kept smaller ones where no ``rate`` is set. rate: most frames a second; frames are dropped, never repeated, and each
    keeps its time to 1 / rate seconds. quality: constant rate factor of H.264, 0 (lossless) to 51. gop:
    frames from one key frame to the next; small ones make seeking cheap. max_pixels: larger frames are refused.
    Resized videos are H.264 in MP4, without sound. Raises SampleError.
    """

    extensions = EXTENSIONS

    def __init__(
        self, *, resize: int | None = None, rate: int | None = None, quality: int = 23, gop: int = 12,
        max_pixels: int = 1 << 26,
    ) -> None:
        if resize is not None and resize < 2:
            raise RecipeError(f"resize = {resize} must be at least 2 pixels")
        if rate is not None and (rate < 1 or resize is None):
            raise RecipeError(f"rate = {rate} must be at least 1, and needs resize")
        if not 0 <= quality <= 51 or gop < 1:
            raise RecipeError(f"quality = {quality} must lie between 0 and 51, and gop = {gop} be at least 1")
        self.resize, self.rate, self.quality, self.gop, self.max_pixels = resize, rate, quality, gop, max_pixels

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The part to store."""
        data = path.read_bytes()
        with Video(data, max_pixels=self.max_pixels) as video:
            survey = video.survey
            video.frames([0])
        if self.resize is None:
            return {path.suffix.lower().lstrip("."): data}
        scale = min(1.0, self.resize / min(survey.height, survey.width))
        if scale == 1.0 and self.rate is None:
            return {path.suffix.lower().lstrip("."): data}
        size = (max(2, round(survey.width * scale / 2) * 2), max(2, round(survey.height * scale / 2) * 2))
        try:
            return {"mp4": self._encoded(data, size)}
        except av.FFmpegError as error:
            raise SampleError(f"{path}: {error}") from error

    def _encoded(self, data: bytes, size: tuple[int, int]) -> bytes:
        """The video at (width, height): every frame at its own time, or the first of each 1 / ``rate`` seconds."""
        to = io.BytesIO()
        with av.open(io.BytesIO(data), mode="r") as source, av.open(to, "w", format="mp4") as sink:
            old: Any = source.streams.video[0]
            rate = Fraction(self.rate) if self.rate else Fraction(old.average_rate or 25)
            new: Any = sink.add_stream("libx264", rate=rate)
            new.width, new.height, new.pix_fmt = *size, "yuv420p"
            new.options = {"crf": str(self.quality), "g": str(self.gop), "threads": "1"}
            tick = 1 / rate if self.rate else Fraction(old.time_base)
            new.codec_context.time_base = tick
            start, written = None, -1
            for frame in source.decode(old):
                if frame.pts is None:
                    continue
                start = frame.pts if start is None else start
                at = int((frame.pts - start) * Fraction(old.time_base) / tick)
                if at <= written:
                    continue
                small = frame.reformat(width=size[0], height=size[1], format="yuv420p")
                small.pts, small.time_base, written = at, tick, at
                for packet in new.encode(small):
                    sink.mux(packet)
            for packet in new.encode():
                sink.mux(packet)
        return to.getvalue()
