"""RatioCourse: a mask ratio that changes with the step."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar, Literal

from mmask.errors import RecipeError


@dataclass(frozen=True)
class RatioCourse:
    """From ``start`` to ``end`` between the steps ``after`` and ``after + steps``, constant before and afterwards.

    kind: ``linear``; ``cosine``, half a period, slow at both ends; ``exponential``, by the same factor at each
        step; ``jump``, ``start`` up to the last step and ``end`` from then on.

    The ratio belongs to the optimizer step, which is part of the key: the plan of a sample is the same function of
    (seed, sample, visit, step) on every rank and after a resume. Held-out plans are those of step 0.
    """

    start: float
    end: float
    steps: int
    kind: Literal["linear", "cosine", "exponential", "jump"] = "linear"
    after: int = 0
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for ratio in (self.start, self.end):
            check_share(ratio)
        if self.kind not in ("linear", "cosine", "exponential", "jump"):
            raise RecipeError(f"mask.ratio.kind is '{self.kind}'; it is one of linear, cosine, exponential, jump")
        if self.steps < 1 or self.after < 0:
            raise RecipeError("mask.ratio.steps is at least 1, mask.ratio.after at least 0")
        if self.kind == "exponential" and min(self.start, self.end) <= 0:
            raise RecipeError("an exponential course of mask.ratio starts and ends above 0")

    def at(self, step: int) -> float:
        """The ratio of a step, counted from 0."""
        done = min(1.0, max(0.0, (step - self.after) / self.steps))
        if done in (0.0, 1.0) or self.kind == "jump":
            return self.end if done == 1.0 else self.start
        if self.kind == "exponential":
            return float(self.start * (self.end / self.start) ** done)
        part = done if self.kind == "linear" else (1.0 - cos(pi * done)) / 2.0
        return self.start + part * (self.end - self.start)


Ratio = float | RatioCourse


def ratio_at(ratio: Ratio, step: int) -> float:
    """A masker's ratio at a step."""
    return ratio.at(step) if isinstance(ratio, RatioCourse) else ratio


def check_ratio(ratio: Ratio) -> None:
    """Raise RecipeError unless ``ratio`` is a share, or a course of shares."""
    if not isinstance(ratio, RatioCourse):
        check_share(ratio)


def check_share(ratio: float) -> None:
    """Raise RecipeError unless ``ratio`` is a share."""
    if not 0.0 <= ratio <= 1.0:
        raise RecipeError(f"mask.ratio is {ratio}; it is a share between 0 and 1")
