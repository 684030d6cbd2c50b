"""preview_scene: a batch as previews look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mmask.train.model import MaskedModel
from mmask.train.scene import ModelScene
from mmask.types import Batch


@contextmanager
def preview_scene(
    model: MaskedModel, batch: Batch, plans: Any = None, *, samples: int | None = None
) -> Iterator[ModelScene]:
    """Inside, the scene of the first ``samples`` of a batch, the model in evaluation mode and without gradients.

    Plans are drawn, or those given, for the whole batch before it is cut, so that a picture shows what a step of that
    batch would hide. The model's mode is what it was on leaving.
    """
    full = model.draw(batch) if plans is None else model.given(batch, plans)
    rows = len(batch) if samples is None else min(samples, len(batch))
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield model.scene(batch.rows(0, rows), full.rows(0, rows))
    finally:
        model.train(before)
