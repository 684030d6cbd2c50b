"""What lies in shards: parts with their counts and sizes, kinds of bytes, columns, and a few samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmask.data.source import Source
from mmask.errors import SampleError
from mmask.keyed import fold, permutation
from mmask.types import Sample

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"\x93NUMPY", "NumPy array"), (b"fLaC", "FLAC"), (b"OggS", "Ogg"), (b"ID3", "MP3"), (b"%PDF", "PDF"),
    (b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gzip"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
    (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x1aE\xdf\xa3", "Matroska"),
)
_RIFF = {b"WEBP": "WebP", b"WAVE": "WAV", b"AVI ": "AVI"}


@dataclass
class Part:
    """One part of the samples (a file extension). kind: what its first bytes say, of the samples read."""

    name: str
    count: int = 0
    total: int = 0
    least: int = 1 << 62
    most: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """What was seen. columns: name -> a line on its values. samples: those that were read."""

    shards: int
    samples: int
    total: int
    parts: tuple[Part, ...]
    columns: dict[str, str]
    read: tuple[Sample, ...]
    unreadable: tuple[str, ...]


def survey(source: Source, *, look: int = 24, seed: int = 0) -> Survey:
    """Count over all indices; read ``look`` samples, drawn by ``seed`` (in stored order when there are fewer)."""
    parts: dict[str, Part] = {}
    columns: dict[str, list[Any]] = {}
    for number in range(len(source.shards)):
        joined, rows = source.index(number)
        for name in dict.fromkeys(joined.fields):
            sizes = np.asarray(joined.column(f"{name}.size"), np.int64)
            there = sizes[_kept(rows, len(joined))]
            there = there[there > 0]
            part = parts.setdefault(name, Part(name))
            if len(there):
                part.count += len(there)
                part.total += int(there.sum())
                part.least, part.most = min(part.least, int(there.min())), max(part.most, int(there.max()))
        for name in joined.columns():
            columns.setdefault(name, []).append(np.asarray(joined.column(name))[_kept(rows, len(joined))])
    read, unreadable = _look(source, look, seed)
    for sample in read:
        for name, data in sample.parts.items():
            kinds = parts.setdefault(name, Part(name)).kinds
            kind = kind_of(data)
            kinds[kind] = kinds.get(kind, 0) + 1
    total = sum(part.total for part in parts.values())
    about = {name: _values(np.concatenate(values)) for name, values in columns.items()}
    return Survey(len(source.shards), len(source), total, tuple(parts.values()), about, read, unreadable)


def kind_of(data: bytes) -> str:
    """What some bytes are, by their first ones: a format, JSON, a number, text, or plain bytes."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "RIFF")
    if data[4:8] == b"ftyp":
        return "MP4 family"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes"
    return _kind_of_text(text)


def _kind_of_text(text: str) -> str:
    if "\0" in text:
        return "bytes"
    if text.strip().lstrip("+-").isdecimal():
        return "integer"
    try:
        value = json.loads(text)
    except ValueError:
        return "text"
    return f"JSON {type(value).__name__}"


def _look(source: Source, look: int, seed: int) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    n = len(source)
    chosen: Sequence[int] = range(n)
    if n > look:
        chosen = sorted(_drawn(n, look, seed))
    read, unreadable = [], []
    for stored in chosen:
        try:
            read.append(source.read(stored))
        except SampleError as error:
            unreadable.append(str(error))
    return tuple(read), tuple(unreadable)


def _drawn(n: int, look: int, seed: int) -> list[int]:
    """``look`` different numbers below n, without a table of n."""
    if n <= 1 << 16:
        return permutation(np.asarray(fold(seed, "inspect"), np.uint64), n)[:look].tolist()
    found: dict[int, None] = {}
    at = 0
    while len(found) < look:
        found[fold(seed, "inspect", at) % n] = None
        at += 1
    return list(found)


def _kept(rows: Any, n: int) -> Any:
    return slice(0, n) if rows is None else rows


def _values(values: np.ndarray) -> str:
    if values.dtype.kind in "iuf" and len(values):
        distinct = len(np.unique(values))
        return f"{distinct} values from {np.nanmin(values):g} to {np.nanmax(values):g}"
    distinct_texts, counts = np.unique(values, return_counts=True)
    top = ", ".join(str(distinct_texts[i]) for i in np.argsort(-counts, kind="stable")[:3])
    return f"{len(distinct_texts)} texts, most often {top}"
