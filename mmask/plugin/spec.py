"""Every hook a plugin may implement; nothing else. None of them runs inside the forward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from mmask.plugin.component import Component

PROJECT = "mmask"
GROUP = "mmask.v1"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def mmask_components() -> Iterable[Component]:  # type: ignore[empty-body]  # a hook's form has none
    """Claim the plugin's components. Called once, when the plugin is checked; must import nothing heavy."""


@hookspec
def mmask_recipe(recipe: Any) -> None:
    """Inspect a resolved recipe before anything is built; raise RecipeError to refuse it."""


@hookspec
def mmask_run_started(run: Any) -> None:
    """A run begins. ``run`` has ``out``, ``rank``, ``recipe``."""


@hookspec
def mmask_report(step: int, numbers: Any) -> None:
    """A row was logged. A hook that raises here is muted and named once."""


@hookspec
def mmask_run_finished(run: Any, outcome: str) -> None:
    """A run ended: ``done``, ``stopped`` or ``failed``. Always called."""


@hookspec
def mmask_checks() -> Iterable[Any]:  # type: ignore[empty-body]  # a hook's form has none
    """Checks for ``mmask doctor``: (name, ok, advice) triples."""
