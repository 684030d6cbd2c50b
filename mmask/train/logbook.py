"""Logbook: where the numbers and pictures of a run go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmask.observe.figures import write_moving, write_png
from mmask.observe.metrics import MetricsFile
from mmask.observe.progress import RunProgress
from mmask.protocols import Tracker

Report = Callable[[int, Mapping[str, Any]], None]


class Logbook:
    """Rows to metrics.jsonl, the trackers, the plugins' hooks and the terminal; only rank 0 has one that writes.

    A tracker that raises is named once and left out: a run does not die of its log.
    """

    def __init__(
        self, out: Path, progress: RunProgress, trackers: Sequence[Tracker], report: Report, *, writes: bool
    ) -> None:
        self.out, self.progress, self.writes = out, progress, writes
        self.metrics = MetricsFile(out / "metrics.jsonl")
        self._trackers, self._report = list(trackers), report

    def row(self, row: Mapping[str, Any]) -> None:
        """One logged step."""
        if not self.writes:
            return
        self.metrics.append(row)
        numbers = {k: float(v) for k, v in row.items() if k != "step" and isinstance(v, int | float)}
        for tracker in list(self._trackers):
            self._try(tracker, partial(tracker.log, int(row["step"]), numbers))
        self._report(int(row["step"]), dict(row))
        self.progress.row(row)

    def picture(self, step: int, name: str, image: np.ndarray) -> Path:
        """A picture of a health point: ``figures/step-000200.png``."""
        path = write_png(self.out / "figures" / f"step-{step:06d}.png", image)
        for tracker in list(self._trackers):
            self._try(tracker, partial(tracker.picture, step, name, image))
        return path

    def moving(self, step: int, frames: np.ndarray, rate: float) -> Path:
        """A moving picture of a health point: ``figures/step-000200.webp``, beside the still one."""
        return write_moving(self.out / "figures" / f"step-{step:06d}.webp", frames, rate)

    def close(self) -> None:
        """Flush every tracker."""
        for tracker in list(self._trackers):
            self._try(tracker, tracker.close)

    def _try(self, tracker: Tracker, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._trackers.remove(tracker)
            self.progress.say(
                f"tracker {type(tracker).__name__} failed and is left out: {type(error).__name__}: {error}"
            )
