"""Choosing and joining rows of indices: filters on columns, key-joins of per-modality shards."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.data.index import ShardIndex
from mmask.data.tar import Finding
from mmask.data.texts import Texts
from mmask.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONDITION = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(==|!=|>=|<=|<|>|\bnot in\b|\bin\b)\s*(.+?)\s*")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
}


class Joined:
    """One shard's samples with the parts of every tar joined to it, in the first tar's order."""

    def __init__(
        self,
        indices: Sequence[ShardIndex],
        rows: Sequence[NDArray[np.int64] | None],
        findings: Sequence[Finding],
    ) -> None:
        self._indices, self._rows = indices, rows
        self.findings = tuple(findings)
        first = rows[0]
        self.keys = indices[0].keys if first is None else Texts.of([indices[0].keys[row] for row in first.tolist()])

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def fields(self) -> tuple[str, ...]:
        """Part names of all joined tars."""
        return tuple(name for index in self._indices for name in index.fields)

    def columns(self) -> list[str]:
        """Names of the metadata columns."""
        return [name for index in self._indices for name in index.columns]

    def column(self, name: str) -> Any:
        """A column (n,) of numbers or strings. Raises KeyError."""
        for index, rows in zip(self._indices, self._rows, strict=True):
            if index.has(name):
                values = index.column(name)
                if isinstance(values, Texts):
                    values = np.array(values.list(), dtype=np.str_)
                return values if rows is None else values[rows]
        raise KeyError(name)

    def parts(self, row: int) -> list[tuple[str, int, int, int]]:
        """(part, volume, offset, size) of one sample; the volume says which of the joined tars."""
        found = []
        for volume, (index, rows) in enumerate(zip(self._indices, self._rows, strict=True)):
            at = row if rows is None else int(rows[row])
            offsets, sizes = index.offsets[at].tolist(), index.sizes[at].tolist()
            found += [
                (name, volume, offset, size)
                for name, offset, size in zip(index.fields, offsets, sizes, strict=True)
                if offset
            ]
        return found

    def first_offset(self, row: int) -> int:
        """Where the sample's first part lies in the first tar, in bytes."""
        rows = self._rows[0]
        offsets = self._indices[0].offsets[row if rows is None else int(rows[row])]
        present = offsets[offsets > 0]
        return int(present.min()) if len(present) else 0

    def given(self, row: int) -> Mapping[str, bytes]:
        """Parts that are not stored but follow from where the sample lies (the class of a class folder)."""
        return {name: str(int(values[row])).encode() for name, values in self._indices[0].given.items()}


def join_indices(indices: Sequence[ShardIndex], names: Sequence[str]) -> Joined:
    """Join by key. Raises DataError when two tars have a part of the same name."""
    if len(indices) == 1:
        return Joined(indices, [None], indices[0].findings)
    owner: dict[str, str] = {}
    for index, name in zip(indices, names, strict=True):
        for part in index.fields:
            if part in owner:
                raise DataError(f"'{part}' is in '{owner[part]}' and in '{name}': a join needs different parts")
            owner[part] = name
    tables = [{key: row for row, key in enumerate(index.keys.list())} for index in indices]
    shared = [key for key in tables[0] if all(key in table for table in tables[1:])]
    rows = [np.array([table[key] for key in shared], np.int64) for table in tables]
    findings = [finding for index in indices for finding in index.findings]
    lost = sum(len(table) - len(shared) for table in tables)
    if lost:
        alone = next(key for table in tables for key in table if not all(key in other for other in tables))
        findings.append(Finding("unjoined", f"'{alone}' is not in every one of {', '.join(names)}", 0, lost))
    return Joined(indices, rows, findings)


@dataclass(frozen=True, slots=True)
class Filter:
    """``width >= 256``, ``label in 1,2,5``, ``lang == de``: a condition on an index column."""

    column: str
    compare: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Raises DataError when it is no condition."""
        found = _CONDITION.fullmatch(text)
        if not found:
            raise DataError(f"'{text}' is not a filter", hint="write: column >= 256, column == text, column in 1,2,3")
        return cls(found[1], found[2], found[3])

    def keeps(self, index: Joined, shard: str) -> NDArray[np.bool_]:
        """(n,) which samples of a shard it keeps. NaN never passes, except ``!=``."""
        try:
            values = index.column(self.column)
        except KeyError:
            known = [*index.columns(), "size", *(f"{name}.size" for name in index.fields)]
            raise DataError(
                f"filter '{self.column} {self.compare} {self.value}': the index of {shard} has no such column"
                f"{did_you_mean(self.column, known)}; it has {', '.join(known)}",
                hint=f"index it: mmask data index URL --column {self.column}=PART",
            ) from None
        numeric = values.dtype.kind in "iuf"
        if self.compare in ("in", "not in"):
            among = [self._value(one.strip(), numeric) for one in self.value.strip("()[]").split(",")]
            found = np.isin(values, among)
            return ~found if self.compare == "not in" else found
        return np.asarray(_COMPARE[self.compare](values, self._value(self.value, numeric)), bool)

    def _value(self, text: str, numeric: bool) -> Any:
        text = text.strip("'\"")
        if not numeric:
            return text
        try:
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        except ValueError:
            raise DataError(f"filter '{self.column} {self.compare} {text}': the column holds numbers") from None
