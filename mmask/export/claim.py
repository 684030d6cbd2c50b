"""What an exporter needs beside itself: whether it is installed, and how to get it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mmask.errors import ExportError


def check_needs(name: str, exporter: Any) -> None:
    """Raise ExportError naming the packages that are missing and the extra that has them."""
    missing = [module for module in exporter.needs if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ExportError(
            f"format '{name}' needs {', '.join(missing)}, which {verb} not installed",
            hint=f"pip install '{exporter.extra}'" if exporter.extra else f"pip install {' '.join(missing)}",
        )
