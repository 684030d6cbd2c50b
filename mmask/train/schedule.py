"""Schedules: how long a run is, and its learning rate at each step. Pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmask.errors import UsageError
from mmask.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Course:
    """The learning rate of a run: linear warm-up from ``start`` to ``peak``, then down to ``floor``.

    steps: optimizer steps of the whole run. warmup: how many of them warm up. kind: ``cosine`` (half a
    period, Loshchilov & Hutter 2017), ``linear`` or ``constant``. samples: of one epoch; 0 if unknown.
    decays: weight decay of the first and the last step, or None when it does not change.
    """

    steps: int
    warmup: int
    peak: float
    start: float = 0.0
    floor: float = 0.0
    kind: str = "cosine"
    batch: int = 1
    samples: int = 0
    decays: tuple[float, float] | None = None

    def lr(self, step: int) -> float:
        """The learning rate that optimizer step ``step`` (from 0) uses."""
        if step < self.warmup:
            return self.start + (self.peak - self.start) * step / self.warmup
        if self.kind == "constant":
            return self.peak
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        left = 1 - done if self.kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.floor + (self.peak - self.floor) * left

    def decay(self, step: int) -> float | None:
        """The weight decay of optimizer step ``step``, on half a cosine period; None when it is constant."""
        if self.decays is None:
            return None
        first, last = self.decays
        done = min(1.0, step / max(1, self.steps - 1))
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))

    def epoch(self, step: int) -> float:
        """Passes over the data after ``step`` steps, as a fraction."""
        return step * self.batch / self.samples if self.samples else 0.0


def peak_lr(recipe: Recipe) -> tuple[float, str]:
    """The peak learning rate and the arithmetic behind it: ``base_lr · batch / base_batch``."""
    optim, batch = recipe.optim, recipe.data.batch_size
    if optim.lr is not None:
        return optim.lr, "optim.lr"
    assert optim.base_lr is not None
    lr = optim.base_lr * batch / optim.base_batch
    return lr, f"{optim.base_lr:g} × {batch} / {optim.base_batch}"


def in_steps(epochs: float, samples: int, batch: int) -> int:
    """Optimizer steps of ``epochs`` passes over ``samples``; a begun step counts."""
    return math.ceil(epochs * samples / batch - 1e-9)


def unit_name(recipe: Recipe) -> str:
    """What ``data.batch_size`` counts."""
    return "samples" if recipe.data.pack is None else "packs"


def tokens_a_step(recipe: Recipe) -> int:
    """Places that the packs of one step have, filled or not. Raises UsageError without packing."""
    pack = recipe.data.pack
    if pack is None:
        raise UsageError(
            "schedule.tokens counts places of packs, and this recipe packs nothing",
            hint="set data.pack, or give schedule.steps or schedule.epochs",
        )
    return pack.length * recipe.data.batch_size


def course(recipe: Recipe, samples: int) -> Course:
    """The course of a recipe over a training set of ``samples`` (with packing: packs)."""
    schedule, batch = recipe.schedule, recipe.data.batch_size
    steps = schedule.steps
    if steps is None and schedule.tokens is not None:
        steps = -(-schedule.tokens // tokens_a_step(recipe))
    if steps is None:
        assert schedule.epochs is not None
        steps = max(1, in_steps(schedule.epochs, samples, batch))
    warmup = schedule.warmup_steps
    if warmup is None:
        warmup = in_steps(schedule.warmup_epochs or 0.0, samples, batch)
    return Course(
        steps, min(warmup, steps), peak_lr(recipe)[0], schedule.warmup_lr, schedule.min_lr, schedule.kind,
        batch, samples, _decays(recipe),
    )


def _decays(recipe: Recipe) -> tuple[float, float] | None:
    optim = recipe.optim
    return None if optim.weight_decay_end is None else (optim.weight_decay, optim.weight_decay_end)


def step_sums(recipe: Recipe, samples: int) -> dict[str, str]:
    """How the numbers of a course came about, for people: name -> arithmetic."""
    schedule, made = recipe.schedule, course(recipe, samples)
    peak, how = peak_lr(recipe)
    lr = f"{peak:.4g} = {how}" if recipe.optim.lr is None else f"{peak:.4g}"
    if schedule.steps is None and schedule.tokens is not None:
        steps = f"{made.steps:,} = {schedule.tokens:,} tokens / {tokens_a_step(recipe):,}"
    elif schedule.steps is None:
        steps = f"{made.steps:,} = {schedule.epochs:g} epochs × {samples:,} / {made.batch}"
    else:
        steps = f"{made.steps:,} = {made.epoch(made.steps):.3g} epochs"
    warmup = f"{made.warmup:,} steps"
    if schedule.warmup_steps is None and schedule.warmup_epochs:
        warmup += f" = {schedule.warmup_epochs:g} epochs"
    if made.warmup >= made.steps:
        warmup += ": the whole run, so the peak is never held (set schedule.warmup_steps)"
    sums = {"steps": steps, "learning rate": f"{lr}, {schedule.kind} to {made.floor:g}", "warm-up": warmup}
    if made.decays is not None:
        sums["weight decay"] = f"{made.decays[0]:g} to {made.decays[1]:g} on a cosine"
    return sums
