"""The pictures of a run on its page: the same samples at several steps, still and moving."""

from __future__ import annotations

import base64
from pathlib import Path

from mmask.observe.figures import list_figures

_SHOWN = 7  # pictures; the files of the others stay in figures/
_SIDE_BY_SIDE = 640  # pixels; wider pictures are shown at their size, or their writing could not be read


def shots(run: Path) -> str:
    """HTML of the pictures below ``figures/``, newest first; "" where there are none."""
    found = list_figures(run / "figures")
    if not found:
        return ""
    spots = {round(i * (len(found) - 1) / max(1, min(_SHOWN, len(found)) - 1)) for i in range(_SHOWN)}
    shown = [found[i] for i in sorted(spots) if i < len(found)]
    parts = [_figure(step, path) for step, path in reversed(shown)]
    rest = len(found) - len(shown)
    more = f'<p class="soft">{rest} more in figures/</p>' if rest > 0 else ""
    return (
        "<h2>Reconstructions over time</h2>"
        '<p class="soft">The same held-out samples under the same plans, newest first.</p>'
        f'<div class="card"><section class="shots">{"".join(parts)}</section>{more}</div>'
    )


def _figure(step: int, path: Path) -> str:
    with path.open("rb") as file:
        width = int.from_bytes(file.read(20)[16:], "big")  # of a PNG's header
    room = f' style="--room: {width}px"' if width > _SIDE_BY_SIDE else ""
    name = f"after step {step:,}" if step else "before training"
    return (
        f"<figure{room}><figcaption><b>{name}</b></figcaption>"
        f'<img alt="reconstruction {name}" src="{embedded(path)}">'
        f"{_moving(path.with_suffix('.webp'), name)}</figure>"
    )


def _moving(path: Path, name: str) -> str:
    if not path.is_file():
        return ""
    return f'<img class="moving" alt="moving reconstruction {name}" src="{embedded(path)}">'


def embedded(path: Path) -> str:
    """A picture's file as the URL of an image in a page."""
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"
