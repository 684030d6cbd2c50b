"""Told: one stored sample again and again, each time with something else said of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmask.data.stream import Located
from mmask.evaluate.subset import Subset
from mmask.types import Sample

PLAIN = "txt"


@dataclass
class Told(Subset):
    """A stream of ``rows``, of which position i says ``values[i]`` in ``field`` of its JSON part, and in its part
    ``txt`` where it has one."""

    field: str = ""
    values: Sequence[str] = ()

    def sample(self, located: Located) -> Sample:
        """Read it and change it."""
        found = super().sample(located)
        said = self.values[located.position]
        stored = json.loads(found.parts.get("json", b"{}"))
        parts = {**found.parts, "json": json.dumps({**stored, self.field: said}).encode()}
        return replace(found, parts={**parts, PLAIN: said.encode()} if PLAIN in parts else parts)
