"""Health points: reconstructions of fixed samples under fixed plans, drawn by the recipe's preview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mmask.protocols import Preview
from mmask.train.feed import plan_batch
from mmask.train.logbook import Logbook
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision
from mmask.train.reader import Reader
from mmask.train.scene import BatchPlans

SAMPLES = 8


@dataclass
class Health:
    """Draws the same samples under the same plans each time. A picture that fails never ends a run."""

    preview: Preview
    reader: Reader
    precision: Precision
    book: Logbook
    _sight: BatchPlans | None = None

    @torch.no_grad()
    def __call__(self, model: MaskedModel, step: int) -> None:
        """Write the picture of ``step``."""
        was_training = model.training
        model.eval()
        try:
            if self._sight is None:
                batch = self.reader.sight(SAMPLES)
                if batch is None:
                    return
                self._sight = plan_batch(model, self.precision, batch, 0)
            with self.precision.autocast():
                image: Any = self.preview(model, self._sight.batch, plans=self._sight)
                frames: Any = self._frames(model)
            self.book.picture(step, "reconstruction", image)
            if frames is not None:
                self.book.moving(step, frames, float(getattr(self.preview, "rate", 4.0)))
        except Exception as error:
            self.book.progress.say(f"no picture at step {step}: {type(error).__name__}: {error}")
        finally:
            model.train(was_training)

    def _frames(self, model: MaskedModel) -> Any:
        """(T, H, W, 3) of a preview that can show movement, or None."""
        animate = getattr(self.preview, "animate", None)
        if animate is None or self._sight is None:
            return None
        return animate(model, self._sight.batch, plans=self._sight)
