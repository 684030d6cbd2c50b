"""The trail: where each lane's windows begin, so that resuming opens the right window at once.

How many packs a window gives is known only when it has been read, so where window w of a lane begins (its first
pack's number) is written down when the window is opened: a line ``lane window first`` in ``windows.txt`` of the
run folder. The file saves time and nothing else: without it, or without its last lines, the same packs are found by
reading from an earlier window on. It is therefore never cut back, and a line that a killed run left half is ignored.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

Opened = tuple[int, int, int]  # lane, window, number of its first pack in the lane


class Trail:
    """path: the file, or None to remember nothing. about: what the numbers depend on; a file of another is ignored
    and begun anew by the next write."""

    def __init__(self, path: Path | None, about: str) -> None:
        self.path, self.about = path, about
        self._known: dict[int, list[tuple[int, int]]] = {}
        self._fits = False
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path and path.exists() else []
        if lines and lines[0] == about:
            self._fits = True
            for line in lines[1:-1]:  # the last piece is empty, or a line without its end
                lane, window, first = map(int, line.split())
                self._known.setdefault(lane, []).append((first, window))
            for table in self._known.values():
                table[:] = sorted(set(table))

    def find(self, lane: int, pack: int) -> tuple[int, int]:
        """The last known window of a lane that begins at or before ``pack`` -> (window, its first pack)."""
        table = self._known.get(lane, [])
        at = bisect_right(table, (pack, 1 << 62))
        first, window = table[at - 1] if at else (0, 0)
        return window, first

    def add(self, opened: Iterable[Opened]) -> None:
        """Write what is new."""
        new = []
        for lane, window, first in opened:
            table = self._known.setdefault(lane, [])
            if (first, window) not in table[-2:] and not self._holds(table, (first, window)):
                new.append(f"{lane} {window} {first}\n")
                table.append((first, window))
                table.sort()
        if self.path is None or not new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._fits:
            self._begin()
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, "".join(new).encode())  # one write: ranks may share the file
        finally:
            os.close(handle)

    @staticmethod
    def _holds(table: list[tuple[int, int]], entry: tuple[int, int]) -> bool:
        at = bisect_right(table, entry)
        return bool(at) and table[at - 1] == entry

    def _begin(self) -> None:
        """A file with the right first line, made once by whichever rank comes first."""
        assert self.path is not None
        head = f"{self.about}\n"
        if not self.path.exists() or self.path.read_text(encoding="utf-8", errors="replace")[: len(head)] != head:
            aside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            aside.write_text(head, encoding="utf-8")
            aside.replace(self.path)
        self._fits = True
