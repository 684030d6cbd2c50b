"""A sheet of stored videos: a few frames of each, how long it is, and what is written about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmask.api import Batch, SampleError
from mmask_video.container import Video
from mmask_video.decode import EXTENSIONS
from mmask_video.sampling import uniform

_MARGIN, _LINES, _LINE = 8, 2, 13
_NAMES = ("caption", "name", "label")


class VideoSheet:
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    side: of a frame on the sheet, in pixels. frames: of each video, evenly spread. columns: videos in a row. What
    cannot be decoded is a crossed box with the reason.
    """

    parts = EXTENSIONS

    def __init__(self, *, side: int = 72, frames: int = 4, columns: int = 3) -> None:
        self.side, self.frames, self.columns = side, frames, columns

    def __call__(self, model: Any, batch: Batch, *, plans: Any = None, predict: bool = False) -> np.ndarray:
        """(H, W, 3) uint8. Neither a model nor plans are looked at: these are the stored samples."""
        columns = min(self.columns, len(batch))
        wide, high = self.side * self.frames + _MARGIN, self.side + _MARGIN + _LINES * _LINE
        rows = -(-len(batch) // columns)
        sheet = Image.new("RGB", (columns * wide + _MARGIN, rows * high + _MARGIN), "white")
        for at in range(len(batch)):
            stored = {name: values[at] for name, values in batch.fields.items() if values[at] is not None}
            place = (_MARGIN + at % columns * wide, _MARGIN + at // columns * high)
            self._cell(sheet, place, batch.names[at] if batch.names else str(at), stored)
        return np.asarray(sheet)

    def _cell(self, sheet: Image.Image, at: tuple[int, int], key: str, stored: Mapping[str, bytes]) -> None:
        draw = ImageDraw.Draw(sheet)
        try:
            strip, measures = self._strip(stored)
            sheet.paste(strip, at)
            lines = [f"{key}  {measures}", _about(stored)]
        except SampleError as error:
            right, bottom = at[0] + self.side * self.frames - 1, at[1] + self.side - 1
            draw.rectangle((*at, right, bottom), outline="#c00", fill="#fee")
            draw.line((*at, right, bottom), fill="#c00")
            lines = [key, error.message]
        font = ImageFont.load_default(11)
        for number, text in enumerate(lines):
            line = " ".join(text.split())
            while line and draw.textlength(line, font=font) > self.side * self.frames:
                line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
            place = (at[0], at[1] + self.side + 1 + number * _LINE)
            draw.text(place, line, "black" if number else "#666", font=font)

    def _strip(self, stored: Mapping[str, bytes]) -> tuple[Image.Image, str]:
        """Whole frames side by side, and how many there are of what size and length."""
        part = next((one for one in EXTENSIONS if one in stored), None)
        if part is None:
            raise SampleError(f"no video among its parts {', '.join(sorted(stored))}")
        with Video(stored[part]) as video:
            survey = video.survey
            found = video.frames(uniform(len(survey), self.frames, 1, None).tolist())
        strip = Image.new("RGB", (self.side * self.frames, self.side), "#eee")
        for number, frame in enumerate(found):
            picture = Image.fromarray(frame)
            scale = self.side / max(picture.size)
            picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
            left = number * self.side + (self.side - picture.width) // 2
            strip.paste(picture, (left, (self.side - picture.height) // 2))
        seconds = float(survey.times[-1] - survey.times[0]) * survey.tick
        return strip, f"{len(survey)} frames of {survey.width}x{survey.height}, {seconds:.1f} s"


def _about(stored: Mapping[str, bytes]) -> str:
    """What is written about a sample: its class, its text, or a caption in its JSON."""
    found = [stored[part].decode("utf-8", "replace").strip() for part in ("cls", "txt") if part in stored]
    if "json" in stored:
        try:
            known = json.loads(stored["json"])
            found += [str(known[name]) for name in _NAMES if isinstance(known, dict) and name in known]
        except ValueError:
            found.append("json cannot be read")
    return " · ".join(found)
