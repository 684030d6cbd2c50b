"""Whole: a run's model, heads and all, and samples it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from mmask.errors import DataError, UsageError
from mmask.evaluate.answers import NO_LABEL
from mmask.evaluate.subject import RunSubject
from mmask.evaluate.subset import spread
from mmask.evaluate.told import Told
from mmask.train.model import MaskedModel
from mmask.types import Batch


class Whole:
    """A `mmask.protocols.WholeModel` of a subject. fit: the samples that may be learnt from; None for none.

    learnt: how many samples were asked for to learn from.
    """

    def __init__(self, subject: RunSubject, fit: RunSubject | None = None) -> None:
        self.subject, self.fit, self.learnt = subject, fit, 0

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

    def classes(self) -> tuple[str, ...]:
        """Names of the samples' classes; labels are read from here on."""
        subject = self.subject
        subject.answers = subject.reading.answers.known(subject.samples())
        if subject.answers.names:
            return subject.answers.names
        found = np.unique([int(subject.answers(one, None)["label"]) for one in subject.samples()])
        if found[0] == NO_LABEL:
            raise DataError(f"samples of {subject.name} have no label", hint="--label names another field")
        subject.classes = found
        return tuple(str(one) for one in found.tolist())

    def rewritten(self, field: str, values: Sequence[str]) -> Iterator[Batch]:
        """The first sample, once for each value."""
        subject = self.subject
        rows = np.full(len(values), subject.rows[0])
        return subject.read(Told(subject.stream, rows, field=field, values=values), subject.reading.batch)

    def fresh(self) -> MaskedModel:
        """Another copy."""
        return self.subject.model()

    def fitted(self) -> int:
        """How many samples there are to learn from."""
        return len(self._fit().rows)

    def train(self, *, batch: int, epochs: int, seed: int) -> Iterator[Batch]:
        """Shuffled batches of them."""
        fit = self._fit()
        self.learnt = len(fit.rows)
        return fit.train(torch.from_numpy(fit.rows), batch=batch, epochs=epochs, seed=seed)

    def _fit(self) -> RunSubject:
        if self.fit is None:
            raise UsageError("there is nothing to learn from: --data alone is what is judged on",
                             hint="give --data to learn from and --val to be judged on")
        return self.fit
