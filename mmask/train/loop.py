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
    _clock: _Clock = field(init=False)

    def run(self, last: int) -> str:
        """Train until ``last`` steps are done. -> ``done``, ``stopped`` (early) or ``preempted`` (a signal)."""
        self._clock = _Clock(self.done, self.feed)
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
            self._after(plans, outcome, lr)
            if self.ranks.any(self.signals.asked):
                self._save()
                return PREEMPTED if self.done < self.course.steps else DONE
        self._save()
        return DONE if self.done >= self.course.steps else STOPPED

    def _after(self, plans: BatchPlans, outcome: Outcome, lr: float) -> None:
        done, cadence = self.done, self.cadence
        rate, wait = self._clock.pace(done, len(plans.batch) * self.ranks.world)
        self.book.progress.step(done, outcome.loss, rate, wait)
        if cadence.logs(done):
            row = self._row(plans, outcome, lr, rate, wait)
            if cadence.validates(done):
                row |= self.validate()
            if cadence.probes(done):
                row |= self.probe(done)
            self.trail.flush()
            self.book.row(row)
            self._clock.restart(done)
        if cadence.draws(done):
            self.draw(done)
            self._clock.restart(done)
        if cadence.saves(done):
            self._save()
            self._clock.restart(done)

    def _row(self, plans: BatchPlans, outcome: Outcome, lr: float, rate: float, wait: float) -> dict[str, Any]:
        ratios = plans.ratios()
        row: dict[str, Any] = {
            "step": self.done, "epoch": self.course.epoch(self.done), "loss": outcome.loss, "lr": lr,
            "grad_norm": outcome.grad_norm, "samples_per_s": rate, "data_wait": wait,
            "samples": self.done * self.course.batch, "skipped": self.stepper.guard.skipped,
            "stamp": f"{self.stamps:016x}",
        }
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
    """Samples a second and the share of time spent waiting for data, since the last row."""

    def __init__(self, done: int, feed: Feed) -> None:
        self._feed = feed
        self.restart(done)

    def restart(self, done: int) -> None:
        self._done, self._began, self._wait = done, time.monotonic(), self._feed.wait

    def pace(self, done: int, batch: int) -> tuple[float, float]:
        spent = max(time.monotonic() - self._began, 1e-9)
        waited = self._feed.wait - self._wait
        return (done - self._done) * batch / spent, min(1.0, waited / spent)


def _nothing() -> None:
    """No next batch is needed."""
