"""Metadata columns of an index: labels, lengths and whatever filters need, read once when indexing.

``label=cls`` reads the part ``cls`` of each sample; ``width=json.width`` reads a value inside the JSON part
``json``. A column of whole numbers is int64, of numbers float64 (NaN where missing), else text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.data.tar import Finding
from mmask.data.texts import Texts
from mmask.errors import DataError

if TYPE_CHECKING:
    from mmask.data.index import ShardIndex
    from mmask.data.tar import Readable

_LONGEST = 1 << 20  # bytes of a part that a column is read from
_SPEC = re.compile(r"([A-Za-z_][\w.-]*)(?:=([\w.-]+))?")
LABEL_FIELD = "cls"  # WebDataset's name for a class number: always indexed when it is there


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, the part it is read from, and the way inside that part when it is JSON."""

    name: str
    field: str
    path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Column:
        """From ``name=part`` or ``name=json.key.key``; a single word is both name and part."""
        found = _SPEC.fullmatch(text.strip())
        if not found:
            raise DataError(f"'{text}' is not a column", hint="write label=cls or width=json.width")
        name, source = found[1], found[2] or found[1]
        pieces = source.split(".")
        at = next((i for i, piece in enumerate(pieces) if piece == "json"), len(pieces) - 1)
        return cls(name, ".".join(pieces[: at + 1]), tuple(pieces[at + 1 :]))


def read_columns(
    store: Readable, index: ShardIndex, columns: Sequence[Column]
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The columns' values for every sample of a shard, and what could not be read."""
    wanted = list(columns)
    if LABEL_FIELD in index.fields and all(column.name != LABEL_FIELD for column in wanted):
        wanted.append(Column(LABEL_FIELD, LABEL_FIELD))
    values: dict[str, list[Any]] = {column.name: [None] * len(index) for column in wanted}
    bad: list[tuple[int, str]] = []
    for part in dict.fromkeys(column.field for column in wanted):
        if part in index.fields:
            mine = [column for column in wanted if column.field == part]
            for row, offset, found, problem in _read_part(store, index, part, mine):
                for name, value in found.items():
                    values[name][row] = value
                if problem:
                    bad.append((offset, problem))
    typed = {name: _typed(column) for name, column in values.items()}
    problems = (Finding("column", bad[0][1], bad[0][0], len(bad)),) if bad else ()
    return typed, problems


def _read_part(
    store: Readable, index: ShardIndex, part: str, columns: Sequence[Column]
) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    """(row, offset, column values, what was wrong) of every sample that has the part."""
    place = index.fields.index(part)
    spans = zip(index.offsets[:, place].tolist(), index.sizes[:, place].tolist(), strict=True)
    for row, (offset, size) in enumerate(spans):
        if offset:
            values, problem = _values(store.read(offset, min(size, _LONGEST + 1)), columns)
            yield row, offset, values, f"'{index.keys[row]}.{part}': {problem}" if problem else ""


def _values(data: bytes, columns: Sequence[Column]) -> tuple[dict[str, Any], str]:
    if len(data) > _LONGEST:
        return {}, f"more than {_LONGEST} bytes"
    values: dict[str, Any] = {}
    problem = ""
    try:
        inside = json.loads(data) if any(column.path for column in columns) else None
    except (ValueError, RecursionError) as error:
        return {}, f"no JSON: {error}"
    for column in columns:
        try:
            values[column.name] = _walk(inside, column.path) if column.path else data.decode().strip()
        except (ValueError, KeyError, IndexError, TypeError) as error:
            problem = f"{column.name}: {type(error).__name__} {error}"
    return values, problem


def _walk(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = value[int(step)] if isinstance(value, list) else value[step]
    if isinstance(value, dict | list):
        raise ValueError(f"'{'.'.join(path)}' is not a single value")
    return value


def _typed(values: list[Any]) -> Any:
    numbers = [_number(value) for value in values]
    if all(isinstance(number, int) for number in numbers):
        return np.array(numbers, np.int64)
    if all(number is not None or value is None for number, value in zip(numbers, values, strict=True)):
        return np.array([math.nan if number is None else number for number in numbers], np.float64)
    return Texts.of(["" if value is None else str(value) for value in values])


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value if not isinstance(value, int) or abs(value) < 1 << 62 else float(value)
    try:
        return int(value) if isinstance(value, str) and abs(int(value)) < 1 << 62 else None
    except ValueError:
        pass
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
