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

    @staticmethod
    def of(train: TrainSection, steps: int, *, held_out: bool, pictures: bool) -> Cadence:
        """The cadence of a recipe's ``train`` section."""
        val = (train.val_every or train.save_every) if held_out else 0
        health = (train.health_every or train.save_every) if pictures else 0
        return Cadence(steps, train.log_every, train.save_every, val, health)

    def logs(self, done: int) -> bool:
        """Whether a row is written: the first step, every ``log``, and wherever there is a validation."""
        return done in (1, self.steps) or done % self.log == 0 or self.validates(done)

    def validates(self, done: int) -> bool:
        """Whether the validation loss is computed."""
        return bool(self.val) and (done % self.val == 0 or done == self.steps)

    def draws(self, done: int) -> bool:
        """Whether the health picture is drawn: also before the first step."""
        return bool(self.health) and (done % self.health == 0 or done == self.steps)

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is written."""
        return done % self.save == 0 or done == self.steps
