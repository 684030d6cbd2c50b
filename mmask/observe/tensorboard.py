"""TensorBoardTracker: event files in the run folder, for ``tensorboard --logdir runs``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


class TensorBoardTracker:
    """A `mmask.protocols.Tracker` that writes TensorBoard event files.

    out (wired): the run's folder. Rows after ``step`` (wired) of a run that was cut back are hidden by ``purge_step``.
    """

    def __init__(self, *, out: Path, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out), purge_step=step + 1 if step else None, flush_secs=30)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Scalars of one logged step; ``val_...`` goes under ``val/``, the rest under ``train/``."""
        for name, value in numbers.items():
            place, _, rest = name.partition("_")
            tag = f"val/{rest}" if place == "val" and rest else f"train/{name}"
            self._writer.add_scalar(tag, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """(H, W, 3) uint8."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        self._writer.close()
