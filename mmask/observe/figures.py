"""Pictures of a run: PNG files under ``figures/``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mmask.errors import MmaskError


def write_png(path: Path, image: np.ndarray) -> Path:
    """Write (H, W, 3) uint8 as a PNG, aside and renamed, so that a reader never meets half of one."""
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise MmaskError(f"a picture must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(np.ascontiguousarray(image)).save(aside, format="PNG", optimize=True)
    aside.replace(path)
    return path


def list_figures(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of the health points' pictures, in order of step."""
    found = []
    for path in folder.glob("step-*.png"):
        number = path.stem.removeprefix("step-")
        if number.isdigit():
            found.append((int(number), path))
    return sorted(found)
