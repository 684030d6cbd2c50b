"""A contact sheet of documents: their beginnings, with their keys and what is written about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmask.api import Batch, Sample, SampleError, SampleId
from mmask_text.documents import PARTS, read_record, stored_texts

_MARGIN, _LINE, _SIZE = 10, 16, 13
_SHOWN = 60  # characters of a value beside the text


class DocumentSheet:
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    field: of ``json`` parts. lines: of each text. columns: documents side by side. width: of a column, in pixels.
    What cannot be read is shown with the reason, in red. Pillow's own font has no Chinese, Japanese or Korean
    letters; they are drawn as boxes.
    """

    parts = PARTS
    fallback = True  # texts lie beside pictures and sounds too: those are drawn by theirs

    def __init__(self, *, field: str = "text", lines: int = 8, columns: int = 2, width: int = 460) -> None:
        self.field, self.lines, self.columns, self.width = field, lines, columns, width
        self._font, self._small = ImageFont.load_default(_SIZE), ImageFont.load_default(_SIZE - 2)

    def __call__(self, model: Any, batch: Batch, *, plans: Any = None, predict: bool = False) -> np.ndarray:
        """(H, W, 3) uint8. Neither a model nor plans are looked at: these are the stored samples."""
        columns = min(self.columns, len(batch))
        high = (self.lines + 2) * _LINE + 2 * _MARGIN
        rows = -(-len(batch) // columns)
        sheet = Image.new("RGB", (columns * (self.width + _MARGIN) + _MARGIN, rows * high + _MARGIN), "white")
        draw = ImageDraw.Draw(sheet)
        for at in range(len(batch)):
            stored = {name: values[at] for name, values in batch.fields.items() if values[at] is not None}
            place = (_MARGIN + at % columns * (self.width + _MARGIN), _MARGIN + at // columns * high)
            self._card(draw, place, batch.names[at] if batch.names else str(at), stored)
        return np.asarray(sheet)

    def _card(self, draw: ImageDraw.ImageDraw, at: tuple[int, int], key: str, stored: Mapping[str, bytes]) -> None:
        left, top = at
        try:
            text = stored_texts(Sample(SampleId("", "", key), stored), [self.field])[0]
            about, colour = f"{len(text):,} characters · {_about(stored, self.field)}", "black"
        except SampleError as error:
            text, about, colour = error.message, "cannot be read", "#c00"
        draw.line((left, top, left + self.width, top), fill="#ccc")
        draw.text((left, top + 3), self._fitted(draw, key, self._small), "#06c", font=self._small)
        draw.text((left, top + 3 + _LINE), self._fitted(draw, about, self._small), "#666", font=self._small)
        for number, line in enumerate(self._wrapped(draw, text)):
            draw.text((left, top + 5 + (number + 2) * _LINE), line, colour, font=self._font)

    def _wrapped(self, draw: ImageDraw.ImageDraw, text: str) -> list[str]:
        """The first lines of a text, broken at white space where that is possible."""
        lines: list[str] = []
        for paragraph in text[: self.lines * self.width].split("\n"):
            rest = " ".join(paragraph.split())
            while rest and len(lines) < self.lines:
                cut = self._reach(draw, rest)
                space = rest.rfind(" ", 1, cut + 1)
                cut = space if cut < len(rest) and space > 0 else cut
                lines.append(rest[:cut])
                rest = rest[cut:].lstrip()
        return lines[: self.lines]

    def _reach(self, draw: ImageDraw.ImageDraw, text: str) -> int:
        """How many characters fit into a line, at least one; found by halving."""
        low, high = 1, min(len(text), self.width)
        while low < high:
            middle = (low + high + 1) // 2
            if draw.textlength(text[:middle], font=self._font) <= self.width:
                low = middle
            else:
                high = middle - 1
        return low

    def _fitted(self, draw: ImageDraw.ImageDraw, text: str, font: Any) -> str:
        line = " ".join(text.split())[: self.width]
        while line and draw.textlength(line, font=font) > self.width:
            line = line[:-2].rstrip("\u2026") + "\u2026" if len(line) > 2 else ""
        return line


def _about(stored: Mapping[str, bytes], field: str) -> str:
    """The class and the short values of the JSON, on one line."""
    found = [f"class {stored['cls'].decode('utf-8', 'replace').strip()}"] if "cls" in stored else []
    if "json" in stored:
        for name, value in read_record(stored["json"], "json").items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if name != field.partition(".")[0] and len(shown) <= _SHOWN:
                found.append(f"{name} {shown}")
    return " · ".join(found)
