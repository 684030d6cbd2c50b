"""One sample among several of a raw file, as a packer finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """span: its bytes in the file, (start, stop); None: the whole file is the sample.

    columns: what is known without its contents, named as in a manifest: ``key``, ``label``, ``split``, ``group``; a few
    short values, as those of all records are held.
    """

    span: tuple[int, int] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
