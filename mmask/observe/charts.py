"""Line charts as inline SVG, in the colours of the page around them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

HEIGHT = 250
NARROW, WIDE = 520, 1040
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 30


@dataclass(frozen=True, slots=True)
class Series:
    """A line. points: (x, y); not-finite ones are left out. style: a class of the style sheet
    (``c1`` ... ``c4``), with ``faint``, ``dash`` or ``dots`` after it."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str = "c1"


def chart(
    series: Sequence[Series], *, label: str, percent: bool = False, zero: bool = False, wide: bool = False
) -> str:
    """One chart with axes, a legend, and the numbers for the page's hover line.

    label: what is drawn, for screen readers. percent: y is a share. zero: the y axis starts at 0.
    wide: for a card over the whole width.
    """
    kept = [Series(s.name, clean(s.points), s.style) for s in series]
    kept = [s for s in kept if s.points]
    if not kept:
        return '<p class="empty">nothing was logged yet</p>'
    xs = [x for s in kept for x, _ in s.points]
    ys = [y for s in kept for _, y in s.points]
    frame = _Frame((min(xs), max(xs)), (0.0 if zero else min(ys), max(ys)), WIDE if wide else NARROW)
    body = [_axes(frame, percent), *(_line(frame, s) for s in kept)]
    named = kept if len(series) > 1 else []  # a single line is named by the card
    legend = "".join(f'<span class="key {s.style}"><i></i>{escape(s.name)}</span>' for s in named)
    data = json.dumps({
        "x": [LEFT, frame.width - RIGHT, frame.x0, frame.x1], "percent": percent,
        "series": [{"name": s.name, "points": [[x, y] for x, y in s.points]} for s in kept],
    }).replace("<", "\\u003c")
    return (
        f'<figure class="chart"><div class="legend">{legend}<output></output></div>'
        f'<svg viewBox="0 0 {frame.width} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(body)}'
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg>'
        f'<script type="application/json">{data}</script></figure>'
    )


def clean(points: Sequence[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
    """Finite points, thinned by averaging neighbours where there are more than ``most``."""
    finite = [(float(x), float(y)) for x, y in points if y is not None and math.isfinite(y)]
    if len(finite) <= most:
        return finite
    size = -(-len(finite) // most)
    groups = [finite[i : i + size] for i in range(0, len(finite), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.03) -> list[tuple[float, float]]:
    """An exponential average over about ``share`` of the points, without its start-up bias."""
    keep = 1 - 1 / max(1.0, len(points) * share)
    out, state, weight = [], 0.0, 0.0
    for x, y in points:
        if y is None or not math.isfinite(y):
            continue
        state, weight = keep * state + (1 - keep) * y, keep * weight + (1 - keep)
        out.append((x, state / weight))
    return out


class _Frame:
    """Data to picture coordinates."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float], width: int) -> None:
        (x0, x1), (y0, y1), self.width = across, up, width
        if x1 <= x0:
            x0, x1 = x0 - 0.5, x1 + 0.5
        if y1 <= y0:
            y0, y1 = y0 - abs(y0) * 0.1, y1 + abs(y1) * 0.1 + 1e-9
        room = 0.06 * (y1 - y0)
        self.x0, self.x1, self.y0, self.y1 = x0, x1, y0 if y0 == 0 else y0 - room, y1 + room

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def _line(frame: _Frame, series: Series) -> str:
    spots = [(frame.x(x), frame.y(y)) for x, y in series.points]
    out = ""
    if len(spots) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        out = f'<polyline class="line {series.style}" points="{path}"/>'
    if "dots" in series.style or len(spots) == 1:
        dot = '<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3"/>'
        out += "".join(dot.format(series.style, x, y) for x, y in spots)
    return out


def _axes(frame: _Frame, percent: bool) -> str:
    out = []
    for value in ticks(frame.y0, frame.y1, 5):
        y = frame.y(value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = f"{100 * value:.3g}%" if percent else short(value)
        out.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value in ticks(frame.x0, frame.x1, 6):
        out.append(
            f'<text class="tick" x="{frame.x(value):.1f}" y="{HEIGHT - 10}" text-anchor="middle">'
            f"{short(value)}</text>"
        )
    return "".join(out)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between low and high, roughly ``about`` of them."""
    raw = (high - low) / max(1, about)
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 2.5, 5, 10) if base * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number in few characters: 1.2e-4, 0.35, 12k."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.4g}" if size >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")
