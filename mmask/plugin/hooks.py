"""Calling hooks, one plugin at a time, so that one that raises never silences the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mmask.errors import MmaskError, PluginError, RecipeError
from mmask.plugin.quarantine import Plugin, new_manager


@dataclass(frozen=True, slots=True)
class Check:
    """One line of ``mmask doctor``."""

    plugin: str
    name: str
    ok: bool
    advice: str = ""


class Hooks:
    """The hooks of plugins that passed quarantine, called in order of plugin name."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify
        self._manager = new_manager()
        self._plugins: dict[str, Plugin] = {}
        self._muted: set[str] = set()

    def add(self, plugin: Plugin) -> None:
        """Register a plugin that was checked."""
        self._manager.register(plugin.manifest, plugin.name)
        self._plugins[plugin.name] = plugin

    def recipe(self, recipe: Any) -> None:
        """``mmask_recipe``: a plugin may refuse a resolved recipe; it is named in the error."""
        for plugin, call in self._calls("mmask_recipe"):
            try:
                call(recipe=recipe)
            except MmaskError as error:
                message = f"plugin {plugin.label} refuses the recipe: {error.message}"
                raise RecipeError(message, hint=error.hint) from error
            except Exception as error:
                raise _failed(plugin, "mmask_recipe", error) from error

    def run_started(self, run: Any) -> None:
        """``mmask_run_started``: a plugin that raises stops the run."""
        for plugin, call in self._calls("mmask_run_started"):
            try:
                call(run=run)
            except Exception as error:
                raise _failed(plugin, "mmask_run_started", error) from error

    def report(self, step: int, numbers: Any) -> None:
        """``mmask_report``: a plugin that raises is named once and muted."""
        for plugin, call in self._calls("mmask_report"):
            if plugin.name in self._muted:
                continue
            try:
                call(step=step, numbers=numbers)
            except Exception as error:
                self._muted.add(plugin.name)
                self.notify(f"{_failed(plugin, 'mmask_report', error).message}; it is muted for this run")

    def run_finished(self, run: Any, outcome: str) -> None:
        """``mmask_run_finished``: always called; a plugin that raises is named and the others still run."""
        for plugin, call in self._calls("mmask_run_finished"):
            try:
                call(run=run, outcome=outcome)
            except Exception as error:
                self.notify(_failed(plugin, "mmask_run_finished", error).message)

    def checks(self) -> list[Check]:
        """``mmask_checks`` of every plugin; one that raises shows up as a failed check."""
        out: list[Check] = []
        for plugin, call in self._calls("mmask_checks"):
            try:
                for name, ok, advice in (row for rows in call() for row in rows):
                    out.append(Check(plugin.name, str(name), bool(ok), str(advice)))
            except Exception as error:
                out.append(Check(plugin.name, "mmask_checks", False, _failed(plugin, "mmask_checks", error).message))
        return out

    def _calls(self, hook: str) -> Iterator[tuple[Plugin, Callable[..., Any]]]:
        everyone = {name: plugin.manifest for name, plugin in self._plugins.items()}
        implementing = {impl.plugin_name for impl in getattr(self._manager.hook, hook).get_hookimpls()}
        for name in sorted(implementing):
            others = [manifest for other, manifest in everyone.items() if other != name]
            yield self._plugins[name], self._manager.subset_hook_caller(hook, remove_plugins=others)


def _failed(plugin: Plugin, hook: str, error: Exception) -> PluginError:
    return PluginError(f"plugin {plugin.label} failed in {hook}: {type(error).__name__}: {error}")
