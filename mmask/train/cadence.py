"""Cadence: which steps are logged, validated, drawn and saved. Pure functions of the step."""

from __future__ import annotations

from dataclasses import dataclass

from mmask.recipe.schema import TrainSection


@dataclass(frozen=True, slots=True)
class Cadence:
    """``done`` counts finished steps, from 1. The last step of the schedule does everything.

    val, health: 0 for never. An early stop adds nothing, so that an interrupted run has the same rows.
    """

    steps: int
    log: int
    save: int
    val: int = 0
    health: int = 0
    probe: bool = False

    @staticmethod
    def of(train: TrainSection, steps: int, *, held_out: bool, pictures: bool, probe: bool = False) -> Cadence:
        """The cadence of a recipe's ``train`` section."""
        val = (train.val_every or train.save_every) if held_out else 0
        health = (train.health_every or train.save_every) if pictures or probe else 0
        return Cadence(steps, train.log_every, train.save_every, val, health, probe)

    def logs(self, done: int) -> bool:
        """Whether a row is written: the first step, every ``log``, and wherever there is a validation or a probe."""
        return done in (1, self.steps) or done % self.log == 0 or self.validates(done) or self.probes(done)

    def validates(self, done: int) -> bool:
        """Whether the validation loss is computed."""
        return bool(self.val) and (done % self.val == 0 or done == self.steps)

    def probes(self, done: int) -> bool:
        """Whether features are judged: at the health points."""
        return self.probe and self.draws(done)

    def draws(self, done: int) -> bool:
        """Whether this is a health point, where the picture is drawn. So is the start of the run."""
        return bool(self.health) and (done % self.health == 0 or done == self.steps)

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is written."""
        return done % self.save == 0 or done == self.steps
