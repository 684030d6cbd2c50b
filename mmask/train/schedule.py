"""Schedules: how long a run is, and its learning rate at each step. Pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmask.recipe.effective import effective, to_steps
from mmask.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Course:
    """The learning rate of a run: linear warm-up from ``start`` to ``peak``, then down to ``floor``.

    steps: optimizer steps of the whole run. warmup: how many of them warm up. kind: ``cosine`` (half a
    period, Loshchilov & Hutter 2017), ``linear`` or ``constant``. samples: of one epoch; 0 if unknown.
    """

    steps: int
    warmup: int
    peak: float
    start: float = 0.0
    floor: float = 0.0
    kind: str = "cosine"
    batch: int = 1
    samples: int = 0

    def lr(self, step: int) -> float:
        """The learning rate that optimizer step ``step`` (from 0) uses."""
        if step < self.warmup:
            return self.start + (self.peak - self.start) * step / self.warmup
        if self.kind == "constant":
            return self.peak
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        left = 1 - done if self.kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.floor + (self.peak - self.floor) * left

    def epoch(self, step: int) -> float:
        """Passes over the data after ``step`` steps, as a fraction."""
        return step * self.batch / self.samples if self.samples else 0.0


def course(recipe: Recipe, samples: int) -> Course:
    """The course of a recipe over a training set of ``samples``."""
    schedule, made = recipe.schedule, effective(recipe, samples)
    assert made.steps is not None  # the number of samples is known
    assert made.warmup_steps is not None
    return Course(
        made.steps, min(made.warmup_steps, made.steps), made.lr, schedule.warmup_lr, schedule.min_lr,
        schedule.kind, made.batch, samples,
    )


def step_sums(recipe: Recipe, samples: int) -> dict[str, str]:
    """How the numbers of a course came about, for people: name -> arithmetic."""
    schedule, optim, made = recipe.schedule, recipe.optim, course(recipe, samples)
    lr = f"{made.peak:.4g}"
    if optim.lr is None:
        lr += f" = {optim.base_lr:g} × {made.batch} / {optim.base_batch}"
    if schedule.steps is None:
        steps = f"{made.steps:,} = {schedule.epochs:g} epochs × {samples:,} / {made.batch}"
    else:
        steps = f"{made.steps:,} = {made.epoch(made.steps):.3g} epochs"
    warmup = f"{made.warmup:,} steps"
    if schedule.warmup_steps is None and schedule.warmup_epochs:
        warmup += f" = {schedule.warmup_epochs:g} epochs"
        if to_steps(schedule.warmup_epochs, samples, made.batch) > made.steps:
            warmup += ", cut to the run's length"
    return {"steps": steps, "learning rate": f"{lr}, {schedule.kind} to {made.floor:g}", "warm-up": warmup}
