"""Feed: the loader's batches with their plans, on the device, one step ahead."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmask.train.model import MaskedModel
from mmask.train.precision import Precision
from mmask.train.scene import BatchPlans
from mmask.types import Batch


class Feed:
    """Draws the plans of each batch on the host, then moves the batch to the device.

    batches: this rank's part of each global batch, from step ``step`` on. ``wait`` counts the seconds
    the training process spent waiting for the loader.
    """

    def __init__(self, batches: Iterable[Batch], model: MaskedModel, precision: Precision, step: int) -> None:
        self._batches: Iterator[Batch] = iter(batches)
        self._model, self._precision = model, precision
        self._step, self._ready = step, None  # type: tuple[int, BatchPlans | None]
        self.wait = 0.0

    def prepare(self) -> None:
        """Get the next batch now, unless it is here already."""
        if self._ready is None:
            began = time.monotonic()
            batch = next(self._batches)
            self.wait += time.monotonic() - began
            self._ready = plan_batch(self._model, self._precision, batch, self._step)
            self._step += 1

    def take(self) -> BatchPlans:
        """The next step's batch and plans."""
        self.prepare()
        ready, self._ready = self._ready, None
        assert ready is not None
        return ready


def plan_batch(model: MaskedModel, precision: Precision, batch: Batch, step: int) -> BatchPlans:
    """Plans drawn on the host, from ids and shapes; the batch on the device."""
    plans = model.draw(batch, step=step)
    return replace(plans, batch=precision.cast(batch))
