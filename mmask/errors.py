"""Every error mmask raises on purpose, and the exit code each one means.

    MmaskError                      1   anything below
    ├── UsageError                  2   a flag, a path or a name on the command line is wrong
    ├── RecipeError                 3   a recipe or an override does not validate
    │   └── UnknownNameError        3   no component, recipe or key of that name
    ├── PluginError                 4   a plugin cannot be loaded, checked or built
    │   └── NameClashError          4   two plugins claim one name
    ├── DataError                   5   shards, an index or a sample cannot be used
    │   ├── SampleError             5   one sample is unreadable (goes to the ledger)
    │   ├── IndexMissingError       5   a remote shard has no sidecar index
    │   └── FaultBudgetError        5   more samples failed than the run allows
    ├── CheckpointError             6   a checkpoint is missing, torn or of another run
    ├── NonFiniteError              7   loss or gradients stayed non-finite beyond the budget
    ├── OutOfMemoryError            8   the step does not fit; carries the numbers
    ├── PlanError                   9   a mask plan cannot be drawn or does not fit its layout
    └── ExportError                10   a written model does not agree with its source

A run that SIGTERM ended after saving exits with ``EXIT_PREEMPTED`` (75, BSD's "try again").
A message says what was found, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

EXIT_PREEMPTED = 75


class MmaskError(Exception):
    """Base of all errors a user can cause or meet. ``hint`` is the way out, on its own line."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:  # workers send errors to the training process
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[MmaskError], message: str, hint: str) -> MmaskError:
    error = kind.__new__(kind)
    MmaskError.__init__(error, message, hint=hint)
    return error


class UsageError(MmaskError):
    """A flag, a path or a name on the command line is wrong."""

    exit_code = 2


class RecipeError(MmaskError):
    """A recipe or an override does not validate."""

    exit_code = 3


class UnknownNameError(RecipeError):
    """No component, recipe or key has this name; the message names the nearest ones."""


class PluginError(MmaskError):
    """A plugin cannot be found, imported, checked or built."""

    exit_code = 4


class NameClashError(PluginError):
    """Two plugins claim the same name; the message names both owners."""


class DataError(MmaskError):
    """Shards, an index or samples cannot be used."""

    exit_code = 5


class SampleError(DataError):
    """One sample is unreadable. The stream writes it to the ledger and draws a substitute."""


class IndexMissingError(DataError):
    """A remote shard has no sidecar index; the message gives the command that makes it."""


class FaultBudgetError(DataError):
    """More samples failed than ``data.fault_budget`` allows."""


class CheckpointError(MmaskError):
    """A checkpoint is missing, torn, or belongs to another run."""

    exit_code = 6


class NonFiniteError(MmaskError):
    """Loss or gradients were non-finite for more steps than the budget allows."""

    exit_code = 7


class OutOfMemoryError(MmaskError):
    """A step does not fit the device's memory; the message carries the numbers and what to change."""

    exit_code = 8


class PlanError(MmaskError):
    """A mask plan cannot be drawn, or does not fit the layout it is used with."""

    exit_code = 9


class ExportError(MmaskError):
    """A written model could not be loaded back or does not agree with its source."""

    exit_code = 10


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'block'?)`` for the nearest known name, or an empty string."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""
