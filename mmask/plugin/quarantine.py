"""Loading one plugin where it can do no harm: a throwaway manager first, the real one only when all is well.

pluggy accepts a misspelt hook until ``check_pending`` is called, and its 1.6 leaves a plugin that fails
validation half registered; both are why nothing is registered in the real manager before it was checked.
"""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import pluggy

from mmask.errors import PluginError, did_you_mean
from mmask.plugin import spec
from mmask.plugin.component import Component
from mmask.plugin.entries import Entry

State = Literal["unseen", "blocked", "ready", "broken"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass
class Plugin:
    """What is known about one plugin.

    reason: one line, why it is blocked or broken. trace: the whole chained traceback of a broken one.
    seconds: how long its manifest took to import. manifest: the object that holds its hooks.
    """

    entry: Entry
    state: State = "unseen"
    reason: str = ""
    trace: str = ""
    error: Exception | None = None
    seconds: float = 0.0
    components: tuple[Component, ...] = ()
    manifest: Any = None

    @property
    def name(self) -> str:
        """The plugin's short name."""
        return self.entry.name

    @property
    def label(self) -> str:
        """``acme (mmask-acme 0.3)``."""
        return self.entry.label

    def fail(self, error: Exception) -> None:
        """Mark it broken."""
        self.state, self.error = "broken", error
        self.reason = error.message if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        self.trace = "".join(traceback.format_exception(error))


def new_manager() -> pluggy.PluginManager:
    """A manager that knows the hooks and no plugin."""
    manager = pluggy.PluginManager(spec.PROJECT)
    manager.add_hookspecs(spec)
    return manager


def check(plugin: Plugin) -> None:
    """Import, register in quarantine and validate one plugin; it is ``ready`` or ``broken`` afterwards."""
    start = time.perf_counter()
    try:
        if not _NAME.fullmatch(plugin.name):
            raise PluginError(f"plugin name '{plugin.name}' must be lower case letters, digits, '_' or '-'")
        value = plugin.entry.value
        plugin.manifest = _import(value) if isinstance(value, str) else value
        plugin.seconds = time.perf_counter() - start
        plugin.components = _examine(plugin.manifest, plugin.name)
    except Exception as error:  # a plugin may fail in any way; the command line must not
        plugin.seconds = time.perf_counter() - start
        plugin.manifest = None
        plugin.fail(error)
    else:
        plugin.state = "ready"


def _import(value: str) -> Any:
    module, _, attribute = value.partition(":")
    found = import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    return found


def _examine(manifest: Any, name: str) -> tuple[Component, ...]:
    manager = new_manager()
    try:
        manager.register(manifest, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_invalid(manifest, str(error))) from error
    if not manager.get_hookcallers(manifest):
        raise PluginError("the manifest implements no hook", hint="mark functions with @hookimpl")
    claimed: list[Component] = []
    for made in manager.hook.mmask_components():
        claimed.extend(made)
    return _validated(claimed)


def _validated(claimed: list[Any]) -> tuple[Component, ...]:
    seen: set[tuple[str, str]] = set()
    for component in claimed:
        if not isinstance(component, Component):
            raise PluginError(f"mmask_components gave {component!r}, which is no mmask.api.Component")
        key = (component.kind, component.name)
        if key in seen:
            raise PluginError(f"mmask_components claims the {component.kind} '{component.name}' twice")
        seen.add(key)
    return tuple(sorted(claimed, key=lambda c: (c.kind, c.name)))


def _invalid(manifest: Any, message: str) -> str:
    """pluggy's complaint, with the nearest hook for a misspelt one."""
    marked = [name for name in dir(manifest) if _is_hook(getattr(manifest, name, None))]
    known = [name for name in vars(spec) if name.startswith("mmask_")]
    wrong = [name for name in marked if name not in known]
    if wrong:
        near, hooks = did_you_mean(wrong[0], known), ", ".join(sorted(known))
        return f"unknown hook '{wrong[0]}'{near}; the hooks are {hooks}"
    return " ".join(message.split())


def _is_hook(value: Any) -> bool:
    return hasattr(value, f"{spec.PROJECT}_impl")
