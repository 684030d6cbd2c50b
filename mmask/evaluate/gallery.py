"""Galleries: queries on the left, what was found for each on the right, right answers framed green."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

_RIGHT, _WRONG, _INK = "#2ca02c", "#c8c8c8", "#222222"
_CELL = 1.35  # inches
_LETTERS, _LINES = 18, 9  # of text in a cell


def draw_gallery(
    asked: Sequence[Any], found: Sequence[Sequence[Any]], right: Sequence[Sequence[bool]], places: Sequence[float]
) -> np.ndarray:
    """(H, W, 3) uint8. asked: Q lines of text or pictures (H, W, 3) uint8. found: the first answers to each, best
    first. right: whether they belong. places: the rank of the best right answer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = 1 + max(len(line) for line in found)
    figure = Figure(figsize=(_CELL * across, (_CELL + 0.2) * len(asked)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    cells = figure.subplots(len(asked), across, squeeze=False)
    for line, (query, answers) in enumerate(zip(asked, found, strict=True)):
        _cell(cells[line, 0], query, _INK, 1.0)
        cells[line, 0].set_title(f"own at {places[line]:g}", fontsize=7, color=_INK)
        for column in range(1, across):
            if column > len(answers):
                cells[line, column].set_axis_off()
                continue
            hit = right[line][column - 1]
            _cell(cells[line, column], answers[column - 1], _RIGHT if hit else _WRONG, 3.0 if hit else 1.0)
            cells[line, column].set_title(str(column), fontsize=7, color=_RIGHT if hit else _INK)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _cell(axes: Any, what: Any, colour: str, width: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(edgecolor=colour, linewidth=width)
    if isinstance(what, str):
        text = textwrap.fill(what, _LETTERS, max_lines=_LINES, placeholder=" \u2026")
        told = axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, clip_on=True, transform=axes.transAxes)
        told.set_in_layout(False)  # a text that is too wide is cut; it moves no cell
        axes.set_aspect("equal", "box")
    else:
        axes.imshow(what)
