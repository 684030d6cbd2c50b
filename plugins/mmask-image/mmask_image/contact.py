"""A contact sheet: stored samples side by side, with their keys and what is written about them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmask.api import Batch, Sample, SampleError, SampleId
from mmask_image.decode import EXTENSIONS, ImageDecoder

_MARGIN, _LINES, _LINE = 8, 2, 13
_NAMES = ("name", "caption", "label", "class")


class ContactSheet:
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    side: of a picture on the sheet, in pixels. columns: pictures in a row. What cannot be decoded is
    shown as a crossed box with the reason.
    """

    parts = EXTENSIONS

    def __init__(self, *, side: int = 128, columns: int = 8) -> None:
        self.side, self.columns = side, columns
        self._decode = ImageDecoder(size=side)

    def __call__(self, model: Any, batch: Batch, *, plans: Any = None, predict: bool = False) -> np.ndarray:
        """(H, W, 3) uint8. Neither a model nor plans are looked at: these are the stored samples."""
        columns = min(self.columns, len(batch))
        cell = (self.side + _MARGIN, self.side + _MARGIN + _LINES * _LINE)
        rows = -(-len(batch) // columns)
        sheet = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), "white")
        for at in range(len(batch)):
            stored = {name: values[at] for name, values in batch.fields.items() if values[at] is not None}
            left, top = _MARGIN + at % columns * cell[0], _MARGIN + at // columns * cell[1]
            self._cell(sheet, (left, top), batch.names[at] if batch.names else str(at), stored)
        return np.asarray(sheet)

    def _cell(self, sheet: Image.Image, at: tuple[int, int], key: str, stored: Mapping[str, bytes]) -> None:
        draw = ImageDraw.Draw(sheet)
        try:
            sheet.paste(self._picture(Sample(SampleId("", "", key), stored)), at)
            lines = [key, _about(stored)]
        except SampleError as error:
            right, bottom = at[0] + self.side - 1, at[1] + self.side - 1
            draw.rectangle((*at, right, bottom), outline="#c00", fill="#fee")
            draw.line((*at, right, bottom), fill="#c00")
            lines = [key, error.message.split(": ", 1)[-1]]
        font = ImageFont.load_default(11)
        for number, text in enumerate(lines):
            place = (at[0], at[1] + self.side + 1 + number * _LINE)
            draw.text(place, _fitted(draw, text, font, self.side), "black" if number else "#666", font=font)

    def _picture(self, sample: Sample) -> Image.Image:
        """The whole picture, letterboxed: a crop would hide what is stored."""
        decode = self._decode
        stored = next((name for name in decode.extensions if name in sample.parts), "")
        if stored.endswith("npy"):
            picture = _shown(sample.parts[stored])
        else:
            picture = Image.fromarray(decode.read(sample).numpy())
        picture.thumbnail((self.side, self.side), Image.Resampling.BICUBIC)
        if max(picture.size) < self.side:
            scale = self.side / max(picture.size)
            width, height = (max(1, round(edge * scale)) for edge in picture.size)
            picture = picture.resize((width, height), Image.Resampling.NEAREST)
        box = Image.new("RGB", (self.side, self.side), "#eee")
        box.paste(picture, ((self.side - picture.width) // 2, (self.side - picture.height) // 2))
        return box


def _shown(data: bytes) -> Image.Image:
    """An array as a picture: its first one or three channels, stretched from minimum to maximum."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        planes = array if array.ndim == 2 else array[..., :3] if array.shape[2] >= 3 else array[..., 0]
        values = planes.astype(np.float64)
        low, high = float(values.min()), float(values.max())
    except (ValueError, EOFError, OSError, IndexError) as error:
        raise SampleError(f"npy: not an array that can be shown: {error}") from error
    scaled = (values - low) * (255 / (high - low) if high > low else 0.0)
    return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")


def _about(stored: Mapping[str, bytes]) -> str:
    """What is written about a sample: its text, its class, or a name in its JSON."""
    found = []
    for part in ("cls", "txt"):
        if part in stored:
            found.append(stored[part].decode("utf-8", "replace").strip())
    if "json" in stored:
        try:
            known = json.loads(stored["json"])
            found += [str(known[name]) for name in _NAMES if isinstance(known, dict) and name in known]
        except ValueError:
            found.append("json cannot be read")
    return " · ".join(found)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """The start of ``text`` that fits, in one line."""
    line = " ".join(text.split())
    while line and draw.textlength(line, font=font) > width:
        line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
    return line
