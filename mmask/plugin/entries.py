"""Finding plugins: entry points read from installed metadata, nothing imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from mmask import __version__
from mmask.plugin.spec import GROUP

_GROUP = re.compile(r"mmask\.v\d+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A plugin that could be loaded.

    name: the plugin's short name. value: its manifest's module, or the manifest itself (in tests).
    distribution, version: what was installed. group: the door it was written for.
    """

    name: str
    value: Any
    distribution: str = ""
    version: str = ""
    group: str = GROUP

    @property
    def label(self) -> str:
        """``acme (mmask-acme 0.3)``."""
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name

    @property
    def release(self) -> str:
        """``mmask-acme 0.3``: the distribution and its version, or the plugin's name."""
        return f"{self.distribution} {self.version}" if self.distribution else self.name


CORE = Entry("core", "mmask.builtin", "mmask", __version__)


def installed() -> tuple[Entry, ...]:
    """Every installed entry of ``mmask.v1``, and of other ``mmask.v*`` groups for the message about them.

    A distribution that has a v1 door is not reported for its other doors. Sorted by name and distribution.
    """
    found = list(_all())
    current = {(entry.name, entry.distribution) for entry in found if entry.group == GROUP}
    kept = [e for e in found if e.group == GROUP or (e.name, e.distribution) not in current]
    return tuple(sorted(kept, key=lambda e: (e.name, e.distribution, e.group)))


def _all() -> Iterable[Entry]:
    points = metadata.entry_points()
    for group in sorted(points.groups):
        if _GROUP.fullmatch(group):
            for point in points.select(group=group):
                dist = point.dist
                name, version = (dist.name, dist.version) if dist is not None else ("", "")
                yield Entry(point.name, point.value, name, version, point.group)
