"""AnswerDecoder: the answer to a sample's question as a class, from its JSON part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmask.api import DataError, Keys, Sample, SampleError

NONE = -1


class AnswerDecoder:
    """Makes ``name``, an int64: the class of the answer, -1 where a sample has none or one that is no class.

    field: of the ``.json`` part: a class, an answer in words, or a table answer -> score, of which each visit draws one
    in proportion to the scores (evaluation takes the best, the first of equal ones). labels: a file with a JSON list of
    all answers in words, in the order of their classes; without it, answers are numbers (as keys of a table: digits).
    """

    def __init__(self, *, field: str = "answer", name: str = "answer", labels: str | None = None) -> None:
        self.field, self.name, self.labels = field, name, labels

    @cached_property
    def _classes(self) -> Mapping[str, int]:
        assert self.labels is not None
        try:
            words = json.loads(Path(self.labels).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"no list of answers can be read from {self.labels}: {error}") from error
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"{self.labels} is no JSON list of answers in words")
        return {word: number for number, word in enumerate(words)}

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """One field. Raises SampleError for a part that cannot be read, or an answer that is none of these."""
        try:
            stored = json.loads(sample.parts.get("json", b"{}"))
        except ValueError as error:
            raise SampleError(f"{sample.id}: its json cannot be read: {error}") from error
        found = stored.get(self.field) if isinstance(stored, Mapping) else None
        if isinstance(found, Mapping):
            found = self._drawn(sample, found, keys)
        return {self.name: np.int64(NONE if found is None else self._class(sample, found))}

    def _class(self, sample: Sample, answer: Any) -> int:
        if isinstance(answer, int) and not isinstance(answer, bool) and answer >= NONE:
            return answer
        if isinstance(answer, str):
            if self.labels is not None:
                return self._classes.get(answer, NONE)
            if answer.isdecimal():
                return int(answer)
        raise SampleError(f"{sample.id}: '{self.field}' is {answer!r}, no class of an answer",
                          hint="name the file of all answers: labels=answers.json")

    def _drawn(self, sample: Sample, scores: Mapping[str, Any], keys: Keys | None) -> str | None:
        """One answer of a table, among those that are classes."""
        kept = {answer: score for answer, score in scores.items() if self._class(sample, answer) != NONE}
        if not all(isinstance(score, int | float) and score >= 0 for score in kept.values()):
            raise SampleError(f"{sample.id}: scores of '{self.field}' are numbers of 0 or more, not {scores}")
        if not kept or sum(kept.values()) <= 0:
            return None
        if keys is None:
            return max(kept, key=lambda answer: kept[answer])
        edges = np.cumsum(list(kept.values()))
        at = keys.uniform(f"answer.{self.name}", 1)[0, 0] * edges[-1]
        return list(kept)[min(int(np.searchsorted(edges, at, side="right")), len(kept) - 1)]
