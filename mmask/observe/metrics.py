"""metrics.jsonl: one JSON object a logged step, appended, and cut back when a run resumes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends rows. A number that is not finite becomes null, so that every line is plain JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row and flush it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: _plain(value) for name, value in row.items()}) + "\n")

    def cut(self, step: int) -> int:
        """Keep the rows up to ``step``; what a crash left behind it goes. Returns how many rows went.

        The new file is written aside and renamed, so that a crash here loses nothing.
        """
        if not self.path.exists():
            return 0
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _step(line) <= step]
        if len(kept) < len(lines) or not self._whole():
            aside = self.path.with_suffix(".tmp")
            with aside.open("w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in kept)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        return len(lines) - len(kept)

    def _whole(self) -> bool:
        """Whether the last line is ended."""
        return self.path.stat().st_size == 0 or self.path.read_bytes().endswith(b"\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file in order; a torn last line is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
    return rows


def _step(line: str) -> float:
    """The step of a line; infinite when the line is torn."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
