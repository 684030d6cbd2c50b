"""Program: which objectives a step learns from, drawn from (seed, step) alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mmask.errors import RecipeError, did_you_mean
from mmask.keyed import fold, stream


@dataclass(frozen=True, slots=True)
class Task:
    """Objectives that are learnt together. ratio: its share when one task is drawn; every: it is active at
    steps divisible by this number; start: from this step on."""

    objectives: tuple[str, ...]
    ratio: float = 1.0
    every: int = 1
    start: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A course of tasks. The same at every rank and in every micro-batch of a step.

    draw: ``all`` tasks that have started and whose ``every`` divides
    the step, or ``one`` of them by ratio (UNITER's 2:2:1:1).
    tasks: task name -> task; none means every objective at every step.
    """

    draw: Literal["all", "one"] = "all"
    tasks: Mapping[str, Task] = field(default_factory=dict)

    def check(self, objectives: Sequence[str]) -> None:
        """Raise RecipeError when a task names no known objective, one is never learnt, or a step is empty."""
        named = [name for task in self.tasks.values() for name in task.objectives]
        for name in named:
            if name not in objectives:
                near = did_you_mean(name, objectives)
                raise RecipeError(f"the program names no objective '{name}'{near} of {sorted(objectives)}")
        idle = sorted(set(objectives) - set(named))
        if self.tasks and idle:
            raise RecipeError(f"objective '{idle[0]}' is in no task of the program: it would never be learnt")
        if self.tasks and all(task.every > 1 or task.start > 0 for task in self.tasks.values()):
            raise RecipeError(
                "every task of the program skips steps, so some steps would learn nothing",
                hint="give one task every=1 and start=0",
            )

    def task(self, seed: int, step: int) -> tuple[str, ...]:
        """The names of the tasks active at a step."""
        due = [name for name, task in self.tasks.items() if step >= task.start and step % task.every == 0]
        if self.draw == "all" or len(due) < 2:
            return tuple(due)
        edges = np.cumsum([self.tasks[name].ratio for name in due])
        key = np.array(fold(seed, step, "program"), np.uint64)
        at = float(stream(key, 1)[0] >> np.uint64(11)) * 2.0**-53 * edges[-1]
        return (due[min(int(np.searchsorted(edges, at, side="right")), len(due) - 1)],)

    def active(self, seed: int, step: int, objectives: Sequence[str]) -> tuple[str, ...]:
        """The objectives active at a step, in the recipe's order."""
        if not self.tasks:
            return tuple(objectives)
        chosen = {name for task in self.task(seed, step) for name in self.tasks[task].objectives}
        return tuple(name for name in objectives if name in chosen)
