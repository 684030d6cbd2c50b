"""The training loop: steps, and what happens between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmask.train.cadence import Cadence
from mmask.train.feed import Feed
from mmask.train.logbook import Logbook
from mmask.train.optim import set_decay
from mmask.train.ranks import Ranks
from mmask.train.scene import BatchPlans
from mmask.train.schedule import Course
from mmask.train.signals import Signals
from mmask.train.stamp import START, StampFile, chain
from mmask.train.step import Outcome, Stepper

DONE, STOPPED, PREEMPTED = "done", "stopped", "preempted"


@dataclass
class Loop:
    """A run's steps from ``done`` on.

    save: writes a checkpoint of the steps done. validate, draw: a validation loss and a health picture. probe: numbers
    of the features at a health point.
    samples, tokens: what all steps done held (tokens of ragged streams alone).
    stamps: the chain of `mmask.train.stamp` over all steps done. trail: the file of every step's stamp.
    """

    feed: Feed
    stepper: Stepper
    course: Course
    cadence: Cadence
    book: Logbook
    ranks: Ranks
    signals: Signals
    save: Callable[[], None]
    validate: Callable[[], dict[str, float]]
    draw: Callable[[int], None]
    probe: Callable[[int], dict[str, float]]
    trail: StampFile
    done: int = 0
    stamps: int = START
    saved: int = -1
    samples: int = 0
    tokens: int = 0
    _clock: _Clock = field(init=False)

    def run(self, last: int) -> str:
        """Train until ``last`` steps are done. -> ``done``, ``stopped`` (early) or ``preempted`` (a signal)."""
        self._clock = _Clock(self)
        while self.done < last:
            plans = self.feed.take()
            lr, decay = self.course.lr(self.done), self.course.decay(self.done)
            if decay is not None:
                set_decay(self.stepper.optimizer, decay)
            more = self.done + 1 < last
            outcome = self.stepper(plans, self.done, lr, meanwhile=self.feed.prepare if more else _nothing)
            self.stamps = chain(self.stamps, self.done, outcome.stamp)
            self.trail.add(outcome.stamp)
            self.done += 1
            self.samples += outcome.samples
            self.tokens += outcome.tokens
            self._after(plans, outcome, lr)
            if self.ranks.any(self.signals.asked):
                self._save()
                return PREEMPTED if self.done < self.course.steps else DONE
        self._save()
        return DONE if self.done >= self.course.steps else STOPPED

    def _after(self, plans: BatchPlans, outcome: Outcome, lr: float) -> None:
        done, cadence = self.done, self.cadence
        rate, wait = self._clock.pace()
        self.book.progress.step(done, outcome.loss, rate, wait)
        if cadence.logs(done):
            row = self._row(plans, outcome, lr, rate, wait)
            if cadence.validates(done):
                row |= self.validate()
            if cadence.probes(done):
                row |= self.probe(done)
            self.trail.flush()
            self.book.row(row)
            self._clock.restart()
        if cadence.draws(done):
            self.draw(done)
            self._clock.restart()
        if cadence.saves(done):
            self._save()
            self._clock.restart()

    def _row(self, plans: BatchPlans, outcome: Outcome, lr: float, rate: float, wait: float) -> dict[str, Any]:
        ratios = plans.ratios()
        row: dict[str, Any] = {
            "step": self.done, "epoch": self.course.epoch(self.done), "loss": outcome.loss, "lr": lr,
            "grad_norm": outcome.grad_norm, "samples_per_s": rate, "data_wait": wait,
            "samples": self.samples, "skipped": self.stepper.guard.skipped,
            "stamp": f"{self.stamps:016x}",
        }
        if self.tokens:
            row |= {"tokens": self.tokens, "tokens_per_s": self._clock.tokens()}
        if ratios:
            row["mask_ratio"] = sum(ratios.values()) / len(ratios)
        if self.course.decays is not None:
            row["weight_decay"] = self.course.decay(self.done - 1)
        if len(ratios) > 1:
            row.update({f"mask_ratio.{name}": ratio for name, ratio in ratios.items()})
        for name, value in {**outcome.terms, **outcome.metrics}.items():
            row[f"term.{name}" if name in row else name] = value
        return row

    def _save(self) -> None:
        if self.saved != self.done:
            self.trail.flush()
            self.save()
            self.saved = self.done


class _Clock:
    """Samples and tokens a second, and the share of time spent waiting for data, since the last row."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.restart()

    def restart(self) -> None:
        loop = self._loop
        self._samples, self._tokens = loop.samples, loop.tokens
        self._began, self._wait = time.monotonic(), loop.feed.wait

    def pace(self) -> tuple[float, float]:
        """Samples a second, and the share of time spent waiting."""
        spent = self._spent()
        return (self._loop.samples - self._samples) / spent, min(1.0, (self._loop.feed.wait - self._wait) / spent)

    def tokens(self) -> float:
        """Tokens a second."""
        return (self._loop.tokens - self._tokens) / self._spent()

    def _spent(self) -> float:
        return max(time.monotonic() - self._began, 1e-9)


def _nothing() -> None:
    """No next batch is needed."""
