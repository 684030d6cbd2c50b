"""A page of marked text: pieces with coloured boxes and small words below them, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN, _TEXT, _SMALL = 12, 15, 11
_TITLE, _LINE, _BELOW = 22, 33, 18  # heights of a title and of a line, and from a line to what stands below it
_SPACE, _PAD = 5, 2  # between words, inside a box
INK, FAINT, LINK = "#222", "#8a8a8a", "#06c"


@dataclass(frozen=True, slots=True)
class Piece:
    """text: as it is drawn. below: small, under it. fill: the colour of its box, None for no box. ink: of the text.
    space: whether a space stands before it."""

    text: str
    below: str = ""
    fill: str | None = None
    ink: str = INK
    space: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled run of pieces."""

    title: str
    pieces: Sequence[Piece]


class Page:
    """Panels one under the other, each at most ``lines`` long, below a legend of coloured boxes."""

    def __init__(self, *, width: int = 900, lines: int = 6) -> None:
        self.width, self.lines = width, lines
        self._font, self._small = ImageFont.load_default(_TEXT), ImageFont.load_default(_SMALL)
        self._ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def draw(self, panels: Sequence[Panel], legend: Sequence[Piece]) -> np.ndarray:
        """(H, W, 3) uint8."""
        laid = [self._lay(panel.pieces) for panel in panels]
        keys = self._lay([Piece(one.text, "", one.fill, one.ink) for one in legend], gap=14) if legend else []
        high = 2 * _MARGIN + _LINE * len(keys) + sum(_LINE * len(lines) + _TITLE + _MARGIN for lines in laid)
        sheet = Image.new("RGB", (self.width, high), "white")
        draw, top = ImageDraw.Draw(sheet), _MARGIN
        for line in keys:
            self._line(draw, top, line)
            top += _LINE
        for panel, lines in zip(panels, laid, strict=True):
            draw.line((_MARGIN, top, self.width - _MARGIN, top), fill="#ddd")
            draw.text((_MARGIN, top + 3), panel.title, LINK, font=self._small)
            top += _TITLE
            for line in lines:
                self._line(draw, top, line)
                top += _LINE
            top += _MARGIN
        return np.asarray(sheet).copy()

    def _lay(self, pieces: Sequence[Piece], gap: int = _SPACE) -> list[list[tuple[int, Piece]]]:
        """Lines of (left, piece): pieces without a space before them stay on their word's line."""
        lines: list[list[tuple[int, Piece]]] = [[]]
        left = _MARGIN
        for word in _words(pieces):
            sizes = [self._wide(piece) for piece in word]
            if lines[-1] and left + sum(sizes) > self.width - _MARGIN:
                if len(lines) == self.lines:
                    lines[-1].append((left, Piece("\u2026", ink=FAINT)))
                    return lines
                lines.append([])
                left = _MARGIN
            for piece, size in zip(word, sizes, strict=True):
                lines[-1].append((left, piece))
                left += size
            left += gap
        return lines

    def _wide(self, piece: Piece) -> int:
        text = self._ruler.textlength(piece.text, font=self._font)
        below = self._ruler.textlength(piece.below, font=self._small) + _SPACE if piece.below else 0
        return round(max(text, below)) + (2 * _PAD if piece.fill else 0)

    def _line(self, draw: ImageDraw.ImageDraw, top: int, line: Sequence[tuple[int, Piece]]) -> None:
        for left, piece in line:
            if piece.fill:
                wide = round(self._ruler.textlength(piece.text, font=self._font)) + 2 * _PAD
                box = (left, top, left + max(wide - 1, 6), top + _BELOW)
                draw.rounded_rectangle(box, radius=3, fill=piece.fill)
            start = left + (_PAD if piece.fill else 0)
            draw.text((start, top), piece.text, piece.ink, font=self._font)
            if piece.below:
                draw.text((start, top + _BELOW), piece.below, FAINT, font=self._small)


def _words(pieces: Sequence[Piece]) -> list[list[Piece]]:
    words: list[list[Piece]] = []
    for piece in pieces:
        if piece.space or not words:
            words.append([])
        words[-1].append(piece)
    return words
