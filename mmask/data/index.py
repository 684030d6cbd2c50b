"""The index of one shard: keys, where every part lies, chosen metadata columns; and its file form.

A sidecar ``<shard>.mmidx`` is a safetensors file: arrays of small integers and UTF-8 text, nothing that
runs when it is read. It carries the tar's size, modification time and tag; when they no longer agree the
index is stale. Offsets of zero mean "this sample has no such part" (a header always comes first).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.data.columns import Column, read_columns
from mmask.data.store import Stamp, Windowed
from mmask.data.tar import Finding, Member, Readable, scan, split_name
from mmask.data.texts import Texts
from mmask.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.data.store import Store

FORMAT, VERSION = "mmask-index", "1"
SUFFIX = ".mmidx"


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the samples of one shard lie.

    keys: n sample keys, in order of first appearance. fields: F part names (extensions, lower case).
    offsets, sizes: (n, F) bytes; offset 0 where a sample has no such part. columns: name -> (n,) numbers,
    or `Texts`. findings: what was odd. stamp: the version of the tar it describes.
    given: parts that are not stored: name -> (n,) int64 (the class of a class folder).
    """

    keys: Texts
    fields: tuple[str, ...]
    offsets: NDArray[Any]
    sizes: NDArray[Any]
    columns: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    stamp: Stamp = Stamp(0)  # noqa: RUF009 - frozen
    given: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def column(self, name: str) -> Any:
        """A column's (n,) values; ``<field>.size`` and ``size`` are always there, in bytes."""
        if name in self.columns:
            return self.columns[name]
        if name == "size":
            return self.sizes.sum(axis=1, dtype=np.int64)
        part = name.removesuffix(".size")
        if part != name and part in self.fields:
            return self.sizes[:, self.fields.index(part)]
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return (
            name in self.columns
            or name == "size"
            or (name.endswith(".size") and name.removesuffix(".size") in self.fields)
        )


def index_tar(store: Store, what: str, columns: Sequence[Column] = (), *, remote: bool = False) -> ShardIndex:
    """Read a tar's headers (and the parts that columns need). Raises DataError if it is no plain tar."""
    reader: Readable = Windowed(store) if remote else store
    found = scan(reader, what)
    keys, rows, findings = _group(found.members)
    fields = tuple(dict.fromkeys(name for row in rows for name in row))
    offsets = np.zeros((len(rows), len(fields)), np.int64)
    sizes = np.zeros((len(rows), len(fields)), np.int64)
    place = {name: column for column, name in enumerate(fields)}
    for at, row in enumerate(rows):
        for name, member in row.items():
            offsets[at, place[name]] = member.offset
            sizes[at, place[name]] = member.size
    index = ShardIndex(
        Texts.of(keys),
        fields,
        _narrow(offsets),
        _narrow(sizes),
        {},
        (*_merged(found.findings + findings), *_gaps(keys, fields, offsets, sizes)),
        store.stamp,
    )
    values, bad = read_columns(store, index, columns)
    return ShardIndex(index.keys, fields, index.offsets, index.sizes, values, index.findings + bad, store.stamp)


def _narrow(values: NDArray[np.int64]) -> NDArray[Any]:
    return values.astype(np.uint32) if values.size == 0 or values.max() < 1 << 32 else values


def _group(members: Sequence[Member]) -> tuple[list[str], list[dict[str, Member]], list[Finding]]:
    """Samples by key. A part that comes a second time opens a second sample of that key, ``key#2``."""
    rows: dict[str, dict[str, Member]] = {}
    times: dict[str, int] = {}
    findings: list[Finding] = []
    before = ""
    for member in members:
        named = split_name(member.name)
        if named is None:
            if not member.name.rpartition("/")[2].startswith("__"):
                findings.append(Finding("unnamed", f"'{member.name}'", member.offset))
            continue
        base, part = named
        key = base if times.get(base, 1) == 1 else f"{base}#{times[base]}"
        row = rows.get(key)
        if row is not None and part in row:
            times[base] = times.get(base, 1) + 1
            key = f"{base}#{times[base]}"
            findings.append(Finding("duplicate", f"'{member.name}' comes again", member.offset))
            row = None
        elif row is not None and base != before:
            findings.append(Finding("unsorted", f"'{member.name}' lies apart from its sample", member.offset))
        if row is None:
            row = rows[key] = {}
            if base.startswith("/") or ".." in base.split("/"):
                findings.append(Finding("path", f"key '{base}'", member.offset))
        row[part] = member
        before = base
    return list(rows), list(rows.values()), findings


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """One finding of a kind: the first, with the count of all."""
    counts: dict[str, int] = {}
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.kind, finding)
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
    return [Finding(one.kind, one.detail, one.offset, counts[kind]) for kind, one in first.items()]


def _gaps(keys: Sequence[str], fields: Sequence[str], offsets: NDArray[Any], sizes: NDArray[Any]) -> list[Finding]:
    """Parts that most samples have and some lack, and parts without bytes."""
    found = []
    for column, name in enumerate(fields):
        lacks = np.flatnonzero(offsets[:, column] == 0)
        if 0 < len(lacks) < len(keys) / 2:
            row = int(lacks[0])
            there = int(offsets[row].max())
            found.append(Finding("half", f"'{keys[row]}' has no '{name}'", there, len(lacks)))
        empty = np.flatnonzero((offsets[:, column] > 0) & (sizes[:, column] == 0))
        if len(empty):
            row = int(empty[0])
            found.append(Finding("empty", f"'{keys[row]}.{name}' has no bytes", int(offsets[row, column]), len(empty)))
    return found


def dump_index(index: ShardIndex) -> bytes:
    """The sidecar's bytes."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {
        "keys": index.keys.blob,
        "key_ends": index.keys.ends,
        "offsets": index.offsets,
        "sizes": index.sizes,
    }
    for name, values in index.columns.items():
        if isinstance(values, Texts):
            tensors[f"text:{name}"], tensors[f"text_ends:{name}"] = values.blob, values.ends
        else:
            tensors[f"column:{name}"] = values
    about = {
        "format": FORMAT,
        "version": VERSION,
        "samples": str(len(index)),
        "fields": json.dumps(index.fields),
        "stamp": json.dumps(asdict(index.stamp)),
        "findings": json.dumps([asdict(one) for one in index.findings]),
    }
    return save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, about)


def index_header(data: bytes) -> dict[str, str]:
    """The sidecar's metadata, from its first bytes. Raises DataError when it is no index of this version."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        about = json.loads(data[8 : 8 + length])["__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, MemoryError) as error:
        raise DataError(f"not an index: {error}") from error
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise DataError(f"an index of format {about.get('format')} {about.get('version')}; this reads {VERSION}")
    return about


def load_index(data: bytes, *, bounded: bool = True) -> ShardIndex:
    """The index in a sidecar's bytes, its bounds checked. Raises DataError when it cannot be believed."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    about = index_header(data)
    try:
        tensors = load(data)
        stamp = Stamp(**json.loads(about["stamp"]))
        findings = tuple(Finding(**one) for one in json.loads(about["findings"]))
        columns: dict[str, Any] = {}
        for name, value in tensors.items():
            kind, _, column = name.partition(":")
            if kind == "column":
                columns[column] = value
            elif kind == "text":
                columns[column] = Texts(value, tensors[f"text_ends:{column}"])
        index = ShardIndex(
            Texts(tensors["keys"], tensors["key_ends"]),
            tuple(json.loads(about["fields"])),
            tensors["offsets"],
            tensors["sizes"],
            columns,
            findings,
            stamp,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"a damaged index: {error}") from error
    _believe(index, stamp.size if bounded else None)
    return index


def _believe(index: ShardIndex, size: int | None) -> None:
    n = len(index)
    if index.offsets.shape != (n, len(index.fields)) or index.sizes.shape != index.offsets.shape:
        raise DataError("a damaged index: its tables have different lengths")
    for texts in (index.keys, *(one for one in index.columns.values() if isinstance(one, Texts))):
        ends = texts.ends.astype(np.int64)
        if len(texts) != n or (n and (ends[-1] != len(texts.blob) or np.diff(ends, prepend=0).min() < 0)):
            raise DataError("a damaged index: its text does not fit")
    if any(len(one) != n for one in index.columns.values()):
        raise DataError("a damaged index: a column has another length")
    if size is not None and n and index.fields:
        ends = index.offsets.astype(np.int64) + index.sizes.astype(np.int64)
        if index.sizes.min() < 0 or ends.max() > size:
            raise DataError("a damaged index: a part lies outside its shard")
