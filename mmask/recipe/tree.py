"""Tree: nested values of a recipe in the making, each leaf with the layer that set it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]

# Setting the key on the left unsets the one on the right, which would otherwise win over it.
RIVALS: Mapping[Path, Path] = {
    ("schedule", "epochs"): ("schedule", "steps"),
    ("schedule", "warmup_epochs"): ("schedule", "warmup_steps"),
    ("optim", "base_lr"): ("optim", "lr"),
}


def leaves(value: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything that is not a table; empty tables and lists count as values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*at, str(key)))
    else:
        yield at, value


class Tree:
    """Values by path, with the origin and the rank of the layer that set each."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._set_by: dict[Path, tuple[int, str]] = {}

    def put(self, path: Path, value: Any, origin: str, rank: int) -> None:
        """Set a value or, leaf by leaf, a table. A string put where a component stands changes its ``use``."""
        here = self.get(path)
        if isinstance(value, str) and isinstance(here, Mapping) and "use" in here:
            path = (*path, "use")
        if isinstance(value, Mapping) and value:
            for key, inner in value.items():
                self.put((*path, str(key)), inner, origin, rank)
            return
        self._forget(path)
        self._place(path, value)
        self._set_by[path] = (rank, origin)

    def layer(self, values: Mapping[Path, Any], origins: Mapping[Path, str], rank: int) -> None:
        """Put a whole layer; a key of `RIVALS` unsets the lower layers' rival unless this layer sets that too."""
        for path, value in values.items():
            self.put(path, value, origins[path], rank)
        for path, rival in RIVALS.items():
            mine = self._set_by.get(path)
            if mine is None or mine[0] != rank or self.get(path) is None:
                continue
            if self._set_by.get(rival, (rank,))[0] < rank:
                self.put(rival, None, mine[1], rank)

    def get(self, path: Path) -> Any:
        """The value at a path; None where there is none."""
        node: Any = self.values
        for key in path:
            if isinstance(node, Mapping) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                return None
        return node

    def drop(self, path: Path) -> None:
        """Remove a value."""
        parent = self.get(path[:-1])
        if isinstance(parent, dict):
            parent.pop(path[-1], None)
        self._forget(path)

    def origin(self, path: Path) -> str:
        """Where the value at a path came from; ``default`` when no layer set it."""
        return self._known(path)[1]

    def rank(self, path: Path) -> int:
        """The rank of the layer that set the value at a path; -1 for defaults."""
        return self._known(path)[0]

    def _known(self, path: Path) -> tuple[int, str]:
        while path:
            if path in self._set_by:
                return self._set_by[path]
            path = path[:-1]
        return -1, "default"

    def _forget(self, path: Path) -> None:
        """What a value replaces: its own record, and everything that was below it."""
        for known in [p for p in self._set_by if p[: len(path)] == path]:
            del self._set_by[known]

    def _place(self, path: Path, value: Any) -> None:
        node: Any = self.values
        for depth, key in enumerate(path[:-1]):
            if isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
                continue
            inner = node.get(key)
            if not isinstance(inner, dict | list):
                inner = {}
                node[key] = inner
                self._set_by.pop(path[: depth + 1], None)
            node = inner
        if isinstance(node, list):
            node[int(path[-1])] = value
        else:
            node[path[-1]] = value
