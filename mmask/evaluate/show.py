"""Results as files: JSON, and a picture of what is taken for what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmask import __version__
from mmask.evaluate.score import Result
from mmask.observe.figures import write_png

_NUMBERED = 20  # classes up to which cells hold their counts


def write_results(path: Path, results: Sequence[Result]) -> list[Path]:
    """``path`` as JSON, and beside it the pictures of each result's first seed and, with classes, of what is
    taken for what -> the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {"mmask": __version__, "results": [result.to_json() for result in results]}
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)
    made = [path]
    for number, result in enumerate(results):
        name = path.stem if len(results) == 1 else f"{path.stem}-{number}"
        for what, image in result.tried[0].pictures.items():
            made.append(write_png(path.with_name(f"{name}-{what}.png"), image))
        if result.confusion is None:
            continue
        made.append(draw_confusion(path.with_name(f"{name}.png"), result))
    return made


def draw_confusion(path: Path, result: Result) -> Path:
    """Shares of each true class (rows) by predicted class, over all seeds."""
    from matplotlib.figure import Figure

    assert result.confusion is not None
    counts = result.confusion.astype(float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names, size = [str(name) for name in result.classes], len(result.classes)
    side = min(4 + 0.3 * size, 16)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    every = max(1, -(-size // 40))
    axes.set_xticks(range(0, size, every), names[::every], rotation=0 if max(map(len, names)) * size < 40 else 90)
    axes.set_yticks(range(0, size, every), names[::every])
    if size <= _NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{share * 100:.0f}", ha="center", va="center", color=colour, fontsize=7)
    axes.set(xlabel="predicted", ylabel="true")
    main = result.metrics[0]
    told = f"{result.arm}: {result.task}, {result.labels} labels, {main} {result.spread(main).shown(main)}"
    axes.set_title(told, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return path
