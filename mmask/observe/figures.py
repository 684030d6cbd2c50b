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


def write_moving(path: Path, frames: np.ndarray, rate: float) -> Path:
    """Write (T, H, W, 3) uint8 as an endless WebP of ``rate`` frames a second, aside and renamed."""
    from PIL import Image

    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or rate <= 0:
        raise MmaskError(f"a moving picture must be (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    first, *rest = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    first.save(
        aside, format="WebP", save_all=True, append_images=rest, duration=round(1000 / rate), loop=0, quality=80
    )
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
