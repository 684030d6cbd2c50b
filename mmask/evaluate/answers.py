"""Answers: the labels of stored samples, whatever form they have: classes, names, numbers, one for each unit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mmask.errors import DataError, SampleError
from mmask.types import Sample

NO_LABEL = -1


@dataclass(frozen=True)
class Answers:
    """Where labels are and what they mean.

    field: of the ``json`` part, dotted; ``label`` is also looked for in the part ``cls``. real: numbers to be
    predicted, not classes. names: of classes that are told by name, in the order of their numbers; empty for integers.
    units: a sample has a list of labels, one for each of its units. scored: labels may be tables name -> score, of
    which the best is the class (the first of equal ones), and the scores of all are the field ``label.scores``.
    """

    field: str = "label"
    real: bool = False
    names: tuple[str, ...] = ()
    units: bool = False
    scored: bool = False

    def raw(self, sample: Sample) -> Any:
        """The label as it is stored; None where there is none. Raises SampleError for a part that is no JSON."""
        if self.field == "label" and "cls" in sample.parts:
            return sample.parts["cls"].decode(errors="replace").strip()
        if "json" not in sample.parts:
            return None
        try:
            value: Any = json.loads(sample.parts["json"])
        except ValueError as error:
            raise SampleError(f"{sample.id}.json is no JSON: {error}") from None
        for name in self.field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def __call__(self, sample: Sample, keys: Any) -> dict[str, Any]:
        """The field ``label``: int64, float32, or (W,) int64; -1 or nan where there is none. A decoder."""
        value = self.raw(sample)
        if self.units:
            known = self._numbers
            return {"label": np.array([known.get(str(one), NO_LABEL) for one in value or [""]], np.int64)}
        if self.real:
            return {"label": np.float32(_real(value))}
        if self.scored:
            scores = np.zeros(len(self.names), np.float32)
            for name, score in _table(value).items():
                if name in self._numbers:
                    scores[self._numbers[name]] = score
            best = int(scores.argmax()) if scores.any() else NO_LABEL
            return {"label": np.int64(best), "label.scores": scores}
        if self.names:
            return {"label": np.int64(self._numbers.get(str(value), NO_LABEL))}
        number = _whole(value)
        return {"label": np.int64(NO_LABEL if number is None else number)}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def known(self, samples: Iterable[Sample]) -> Answers:
        """What labels are like, from samples of all sets; all of them are read where classes have names.

        Raises DataError for labels that are neither.
        """
        if self.real:
            return self
        names: set[str] = set()
        units = scored = False
        for sample in samples:
            value = self.raw(sample)
            if value is None:
                continue
            if isinstance(value, Mapping):
                names, scored = names | {name for name, score in _table(value).items() if score > 0}, True
            elif isinstance(value, list):
                names, units = names | {str(one) for one in value}, True
            elif isinstance(value, float) and not value.is_integer():
                raise DataError(
                    f"{sample.id}: the label {value} is no class", hint="ask for --metric spearman to predict numbers",
                )
            elif isinstance(value, int) or (self.field == "label" and "cls" in sample.parts):
                if not scored and not names:
                    break  # integers need no table
                names.add(str(value))
            else:
                names.add(str(value))
        if not units and not scored and all(_whole(one) is not None for one in names):
            names = set()  # integers, written as text
        order = sorted(names, key=lambda one: (_whole(one) is None, _whole(one) or 0, one))
        return replace(self, names=tuple(order), units=units, scored=scored)


def _table(value: Any) -> dict[str, float]:
    """Name -> score; a plain label is right, with a score of 1."""
    if value is None:
        return {}
    try:
        return {str(name): float(score) for name, score in value.items()} if isinstance(value, Mapping) else {
            str(value): 1.0
        }
    except (TypeError, ValueError):
        raise DataError(f"the label {value} is no table of scores", hint='{"yes": 1.0, "no": 0.3}') from None


def _whole(value: Any) -> int | None:
    """An integer, in whatever form it is written; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def _real(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
