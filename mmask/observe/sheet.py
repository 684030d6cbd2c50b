"""StoredSheet: stored samples side by side, each a picture, its key, and what is written about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmask.errors import SampleError
from mmask.types import Batch, Sample, SampleId

_MARGIN, _LINES, _LINE = 8, 2, 13


class StoredSheet:
    """A preview of samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    A modality says in `picture` how a sample looks. cell: (width, height) of that in pixels. columns: samples in a row.
    names: keys of a sample's JSON that tell what it is. A sample that `picture` refuses with SampleError is a crossed
    box with the reason.
    """

    def __init__(self, cell: tuple[int, int], columns: int, names: tuple[str, ...]) -> None:
        self.cell, self.columns, self.names = cell, columns, names

    def picture(self, sample: Sample) -> tuple[np.ndarray, str]:
        """(height, width, 3) uint8, and what is told beside the key, such as a length. Raises SampleError."""
        raise SampleError(f"{type(self).__name__} draws nothing of {sample.id}")

    def __call__(self, model: Any, batch: Batch, *, plans: Any = None, predict: bool = False) -> np.ndarray:
        """(H, W, 3) uint8. Neither a model nor plans are looked at: these are the stored samples."""
        columns = max(1, min(self.columns, len(batch)))
        wide, high = self.cell[0] + _MARGIN, self.cell[1] + _MARGIN + _LINES * _LINE
        rows = -(-len(batch) // columns)
        sheet = Image.new("RGB", (columns * wide + _MARGIN, rows * high + _MARGIN), "white")
        for at in range(len(batch)):
            stored = {name: values[at] for name, values in batch.fields.items() if values[at] is not None}
            place = (_MARGIN + at % columns * wide, _MARGIN + at // columns * high)
            self._cell(sheet, place, batch.names[at] if batch.names else str(at), stored)
        return np.asarray(sheet)

    def _cell(self, sheet: Image.Image, at: tuple[int, int], key: str, stored: Mapping[str, bytes]) -> None:
        draw, (wide, high) = ImageDraw.Draw(sheet), self.cell
        try:
            made, told = self.picture(Sample(SampleId("", "", key), stored))
            sheet.paste(Image.fromarray(made), at)
            lines = [f"{key} · {told}" if told else key, self._about(stored)]
        except SampleError as error:
            right, bottom = at[0] + wide - 1, at[1] + high - 1
            draw.rectangle((*at, right, bottom), outline="#c00", fill="#fee")
            draw.line((*at, right, bottom), fill="#c00")
            lines = [key, error.message.split(": ", 1)[-1]]
        font = ImageFont.load_default(11)
        for number, text in enumerate(lines):
            place = (at[0], at[1] + high + 1 + number * _LINE)
            draw.text(place, _fitted(draw, text, font, wide), "black" if number else "#666", font=font)

    def _about(self, stored: Mapping[str, bytes]) -> str:
        """What is written about a sample: its class, its text, and names in its JSON."""
        found = [stored[part].decode("utf-8", "replace").strip() for part in ("cls", "txt") if part in stored]
        if "json" in stored:
            try:
                known = json.loads(stored["json"])
                found += [str(known[name]) for name in self.names if isinstance(known, dict) and name in known]
            except ValueError:
                found.append("json cannot be read")
        return " · ".join(dict.fromkeys(found))  # captions are often names


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """The start of ``text`` that fits, in one line."""
    line = " ".join(text.split())
    while line and draw.textlength(line, font=font) > width:
        line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
    return line
