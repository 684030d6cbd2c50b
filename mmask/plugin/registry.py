"""Registry: who claims which name, and what to say when nobody or more than one does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmask.errors import NameClashError, PluginError, UnknownNameError, did_you_mean
from mmask.plugin.component import KINDS, Component
from mmask.plugin.quarantine import Plugin


@dataclass(frozen=True, slots=True)
class Claim:
    """A component and the plugin that has it."""

    plugin: Plugin
    component: Component

    @property
    def qualified(self) -> str:
        """``plugin/name``."""
        return f"{self.plugin.name}/{self.component.name}"

    @property
    def label(self) -> str:
        """``masker 'block' of plugin image (mmask-image 0.1.0)``."""
        return f"{self.component.kind} '{self.component.name}' of plugin {self.plugin.label}"


class Registry:
    """A frozen table (kind, name) -> claims over plugins that were already checked."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._claims: dict[tuple[str, str], list[Claim]] = {}
        for plugin in self.plugins:
            if plugin.state == "ready":
                for component in plugin.components:
                    claim = Claim(plugin, component)
                    self._claims.setdefault((component.kind, component.name), []).append(claim)

    def claims(self, kind: str | None = None) -> list[Claim]:
        """All claims, sorted by kind, name and plugin: listings never depend on the order of installation."""
        found = [claim for claims in self._claims.values() for claim in claims]
        chosen = [claim for claim in found if kind is None or claim.component.kind == kind]
        return sorted(chosen, key=lambda c: (c.component.kind, c.component.name, c.plugin.name))

    def names(self, kind: str) -> list[str]:
        """Names of one kind, sorted."""
        return sorted(name for known, name in self._claims if known == kind)

    def owners(self, kind: str, name: str) -> list[Claim]:
        """Who claims a bare name."""
        return self._claims.get((kind, name), [])

    def find(self, kind: str, name: str) -> Claim:
        """The one claim of a bare name. Raises UnknownNameError, or NameClashError with both owners."""
        check_kind(kind)
        owners = self.owners(kind, name)
        if not owners:
            raise UnknownNameError(
                f"no {kind} named '{name}'{did_you_mean(name, self.names(kind))}", hint=self._missing(kind, name)
            )
        if len(owners) > 1:
            labels = " and ".join(claim.plugin.label for claim in owners)
            ways = " or ".join(f"'{claim.qualified}'" for claim in owners)
            raise NameClashError(
                f"{kind} '{name}' is claimed by {labels}",
                hint=f"write {ways}, or block one plugin: MMASK_BLOCK={owners[-1].plugin.name}",
            )
        return owners[0]

    def find_in(self, plugin: Plugin, kind: str, name: str) -> Claim:
        """The claim of one plugin. Raises PluginError when it is not usable, UnknownNameError when it has none."""
        check_kind(kind)
        usable(plugin)
        for component in plugin.components:
            if (component.kind, component.name) == (kind, name):
                return Claim(plugin, component)
        own = [c.name for c in plugin.components if c.kind == kind]
        raise UnknownNameError(
            f"plugin {plugin.label} has no {kind} named '{name}'{did_you_mean(name, own)}",
            hint=f"it has {', '.join(own)}" if own else f"it has no {kind} at all",
        )

    def _missing(self, kind: str, name: str) -> str:
        lines = []
        others = sorted({k for k, n in self._claims if n == name})
        if others:
            lines.append(f"'{name}' is a {' and a '.join(others)}, not a {kind}")
        known = self.names(kind)
        lines.append(f"there {'are' if known else 'is'} {', '.join(known) or 'no ' + kind + ' at all'}")
        return "\n  ".join([*lines, *suspects(self.plugins)])


def check_kind(kind: str) -> None:
    """Raises PluginError for a kind that does not exist."""
    if kind not in KINDS:
        raise PluginError(f"no kind of component '{kind}'{did_you_mean(kind, KINDS)}; kinds are {', '.join(KINDS)}")


def usable(plugin: Plugin) -> None:
    """Raises PluginError, with the plugin's own error as its cause, unless the plugin is ready."""
    if plugin.state == "ready":
        return
    raise PluginError(
        f"plugin {plugin.label} is {plugin.state}: {plugin.reason}",
        hint="unset the switch to use it" if plugin.state == "blocked"
        else f"see it in full: mmask plugins {plugin.name}",
    ) from plugin.error


def suspects(plugins: Iterable[Plugin]) -> list[str]:
    """Lines about plugins that could not be loaded, or were blocked, and may have had what was not found."""
    known = list(plugins)
    broken = [plugin for plugin in known if plugin.state == "broken"]
    blocked = [plugin.name for plugin in known if plugin.state == "blocked"]
    lines = []
    if broken:
        count = "1 plugin" if len(broken) == 1 else f"{len(broken)} plugins"
        lines.append(f"{count} could not be loaded and may have provided it:")
        lines += [f"  {plugin.label}: {plugin.reason}" for plugin in broken]
        first = broken[0].name
        lines.append(f"see it in full: mmask plugins {first}      switch it off: MMASK_BLOCK={first}")
    if blocked:
        lines.append(f"blocked and not searched: {', '.join(blocked)}")
    return lines
