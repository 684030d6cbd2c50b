"""Whole: a run's model, heads and all, and samples it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from mmask.evaluate.subject import RunSubject
from mmask.evaluate.subset import spread
from mmask.train.model import MaskedModel
from mmask.types import Batch


class Whole:
    """A `mmask.protocols.WholeModel` of a subject."""

    def __init__(self, subject: RunSubject) -> None:
        self.subject = subject

    @cached_property
    def model(self) -> MaskedModel:
        """In evaluation mode."""
        return self.subject.model()

    def __len__(self) -> int:
        return len(self.subject.rows)

    def stored(self, count: int) -> Iterator[Batch]:
        """At most ``count`` of them, evenly spread."""
        rows = self.subject.rows[spread(len(self), count)]
        return self.subject.stored(torch.from_numpy(rows), batch=self.subject.reading.batch)
