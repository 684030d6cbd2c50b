"""Host: the plugins of one process. Made by the command line or the library and handed down."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmask.errors import PluginError, UnknownNameError, did_you_mean
from mmask.plugin.entries import CORE, Entry, installed
from mmask.plugin.hooks import Hooks
from mmask.plugin.quarantine import Plugin, check
from mmask.plugin.registry import Claim, Registry, suspects, usable
from mmask.plugin.spec import GROUP

if TYPE_CHECKING:
    from mmask.recipe.schema import Spec

_LOG = logging.getLogger("mmask")


class Host:
    """Finds plugins, loads them in quarantine, resolves names and builds components.

    entries: the plugins to consider; None reads what is installed. The core's own manifest is always
    there, as plugin ``core``. environ: where the switches are read (default: the process environment):
    ``MMASK_BLOCK=a,b`` leaves plugins or distributions out, ``MMASK_ONLY=a`` leaves all others out,
    ``MMASK_STRICT=1`` makes a broken plugin an error. notify: receives one line about each broken or
    muted plugin (default: the ``mmask`` logger).
    """

    def __init__(
        self, entries: Sequence[Entry] | None = None, *, environ: Mapping[str, str] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        found = installed() if entries is None else tuple(entries)
        self.notify = notify or _LOG.warning
        self.strict = environ.get("MMASK_STRICT", "") not in ("", "0")
        self.plugins = tuple(Plugin(entry) for entry in (CORE, *found))
        self.hooks = Hooks(self.notify)
        self._registry: Registry | None = None
        self._block(_names(environ.get("MMASK_BLOCK", "")), _names(environ.get("MMASK_ONLY", "")))
        self._other_doors()
        self._twins()

    def plugin(self, name: str) -> Plugin:
        """One plugin, loaded. Raises UnknownNameError when nothing of that name is installed."""
        for known in self.plugins:
            if known.name == name:
                return self._load(known)
        names = [known.name for known in self.plugins]
        raise UnknownNameError(
            f"no plugin named '{name}'{did_you_mean(name, names)}", hint=f"installed are {', '.join(names)}"
        )

    def load_all(self, *, tolerant: bool = False) -> tuple[Plugin, ...]:
        """Every plugin, loaded or broken. Under MMASK_STRICT a broken one is an error unless ``tolerant``."""
        for known in self.plugins:
            self._load(known)
        if self.strict and not tolerant:
            for known in self.plugins:
                if known.state == "broken":
                    usable(known)
        return self.plugins

    def registry(self, *, tolerant: bool = False) -> Registry:
        """The names of all plugins."""
        self.load_all(tolerant=tolerant)
        if self._registry is None:
            self._registry = Registry(self.plugins)
        return self._registry

    def find(self, kind: str, name: str) -> Claim:
        """The claim of ``name`` or ``plugin/name``; a qualified name loads only that plugin.

        Raises UnknownNameError with the nearest name and the broken plugins that may have had it,
        NameClashError with both owners, PluginError for a plugin that is broken or blocked.
        """
        owner, slash, bare = name.rpartition("/")
        if not slash:
            return self.registry().find(kind, name)
        plugin = self.plugin(owner)
        return Registry((plugin,)).find_in(plugin, kind, bare)

    def names(self, kind: str) -> list[str]:
        """Names of one kind, sorted."""
        return self.registry().names(kind)

    def each(self, kind: str) -> list[str]:
        """Names that find one claim each, sorted: qualified where several plugins have the same."""
        names = [claim.component.name for claim in self.claims(kind)]
        return [c.component.name if names.count(c.component.name) == 1 else c.qualified for c in self.claims(kind)]

    def format_of(self, kind: str, name: str, network: str) -> str:
        """``name``, or ``plugin/name`` where several plugins have a format of that name: then it is the one of the
        plugin that has the encoder ``network``."""
        owners = self.registry().owners(kind, name)
        if len(owners) < 2:
            return name
        home = self.find("encoder", network).plugin
        return next((claim.qualified for claim in owners if claim.plugin is home), name)

    def claims(self, kind: str | None = None, *, tolerant: bool = False) -> list[Claim]:
        """Who has what, sorted by kind, name and plugin."""
        return self.registry(tolerant=tolerant).claims(kind)

    def target(self, kind: str, name: str) -> Any:
        """The class or function behind a name, imported."""
        from mmask.plugin.build import load_target

        return load_target(self.find(kind, name))

    def build(self, kind: str, spec: Spec, /, *, where: str = "", **wiring: Any) -> Any:
        """The component ``spec`` names, with its options.

        where: its dotted key in the recipe, for messages. wiring: parts already built; a component gets
        those that its signature declares. Raises RecipeError for unfit options, PluginError otherwise.
        """
        from mmask.plugin.build import make

        try:
            claim = self.find(kind, spec.use)
        except UnknownNameError as error:
            if not where:
                raise
            raise UnknownNameError(f"{where}: {error.message}", hint=error.hint) from None
        return make(claim, spec.options(), wiring, where=where)

    def versions(self) -> dict[str, str]:
        """Plugin name -> ``distribution version`` of every ready plugin, for the run folder."""
        return {p.name: p.entry.release for p in self.plugins if p.state == "ready"}

    def suspects(self) -> list[str]:
        """Lines about plugins that could not be loaded."""
        return suspects(self.plugins)

    def _load(self, plugin: Plugin) -> Plugin:
        if plugin.state == "unseen":
            check(plugin)
            self._registry = None
            if plugin.state == "ready":
                self.hooks.add(plugin)
            else:
                self._tell(plugin)
        return plugin

    def _tell(self, plugin: Plugin) -> None:
        self.notify(
            f"plugin {plugin.label} could not be loaded: {plugin.reason} (see: mmask plugins {plugin.name})"
        )

    def _block(self, blocked: frozenset[str], only: frozenset[str]) -> None:
        known = {n for p in self.plugins for n in (p.name, p.entry.distribution) if n}
        for switch, names in (("MMASK_BLOCK", blocked), ("MMASK_ONLY", only)):
            for name in sorted(names - known):
                self.notify(f"{switch} names '{name}', which is not installed{did_you_mean(name, known)}")
        for plugin in self.plugins:
            mine = {plugin.name, plugin.entry.distribution}
            if mine & blocked:
                plugin.state, plugin.reason = "blocked", "by MMASK_BLOCK"
            elif only and not mine & only and plugin.entry is not CORE:
                plugin.state, plugin.reason = "blocked", "not in MMASK_ONLY"

    def _other_doors(self) -> None:
        for plugin in _unseen(self.plugins):
            if plugin.entry.group != GROUP:
                door, here = plugin.entry.group.rpartition(".")[2], GROUP.rpartition(".")[2]
                plugin.fail(PluginError(f"written for {door} of the plugin door, this is {here}"))

    def _twins(self) -> None:
        """Two distributions with one plugin name: neither is usable until one is blocked."""
        byname: dict[str, list[Plugin]] = {}
        for plugin in _unseen(self.plugins):
            byname.setdefault(plugin.name, []).append(plugin)
        for name, twins in byname.items():
            if len(twins) > 1:
                who = " and ".join(twin.entry.release for twin in twins)
                way = " or ".join(f"MMASK_BLOCK={t.entry.distribution}" for t in twins if t.entry.distribution)
                for twin in twins:
                    twin.fail(PluginError(f"the plugin name '{name}' is claimed by {who}; block one: {way}"))


def _unseen(plugins: Iterable[Plugin]) -> list[Plugin]:
    return [plugin for plugin in plugins if plugin.state == "unseen"]


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (part.strip() for part in text.split(","))))
