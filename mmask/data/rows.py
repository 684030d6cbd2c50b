"""Rows: what `mmask data pack` will put into shards, from class folders or from a manifest.

A row is a file, a key and columns. Columns with a meaning of their own:

    key      the sample's key; default: the file's path inside the folder, without its extension
    label    the class, a name or a number: stored as ``.cls`` (a number)
    caption  text about the file: stored as ``.txt``
    split    the shards it goes to (``train``, ``val``, ...); default: drawn by ``val_fraction``
    group    rows of one group never fall into different splits
    anything else is stored in ``.json``
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmask.errors import DataError, UsageError, did_you_mean
from mmask.keyed import fold
from mmask.types import Record

MANIFESTS = (".csv", ".tsv", ".jsonl", ".ndjson")
_UNSAFE = re.compile(r"[^A-Za-z0-9_/-]+")
_KEY_LENGTH = 88  # USTAR keeps names of 100 bytes; the rest is for ".segmentation.png" and the like


@dataclass(frozen=True, slots=True)
class Row:
    """One sample to pack. columns: as in the manifest, without ``path``, ``key``, ``split``, ``group``. span: its bytes
    in the file, where that holds more samples."""

    path: Path
    key: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""
    group: str = ""
    span: tuple[int, int] | None = None


Records = Callable[[Path], Iterable[Record]]


def read_rows(source: Path, extensions: Sequence[str], records: Records | None = None) -> list[Row]:
    """The rows of a folder, of a manifest or of a file of many samples, sorted by key. Raises `UsageError`,
    `DataError`.

    extensions: lower-case, without dots; files of a folder with other extensions are left alone. records: of a
    packer whose files hold many samples (`mmask.protocols.Packer`); a table with a column ``path`` stays a manifest.
    """
    if not source.exists():
        raise UsageError(f"'{source}' does not exist")
    if source.is_dir():
        rows = list(_opened(_folder(source, extensions), records))
        if not rows:
            raise DataError(
                f"'{source}' holds no file to pack",
                hint=f"looked for {', '.join('.' + e for e in extensions)} in it and in its folders",
            )
    elif records is not None and source.suffix.lower().lstrip(".") in extensions and not is_manifest(source):
        rows = list(_opened([Row(source, safe_key(source.stem))], records))
        if not rows:
            raise DataError(f"'{source}' holds no sample")
    elif source.suffix.lower() in MANIFESTS:
        rows = list(_manifest(source))
        if not rows:
            raise DataError(f"manifest '{source}' has no rows")
    else:
        raise UsageError(
            f"'{source}' is neither a folder nor a manifest",
            hint=f"a manifest ends in {', '.join(MANIFESTS)} and has a column 'path'",
        )
    rows.sort(key=lambda row: row.key)
    _no_duplicates(rows, source)
    return rows


def with_splits(rows: Iterable[Row], val_fraction: float, seed: int) -> list[Row]:
    """Every row with a split. A row's split depends on (seed, its group or key) alone, so a set that
    grows never moves a sample from one side to the other."""
    done = []
    for row in rows:
        if not row.split:
            part = fold(seed, "split", row.group or row.key) / 2**64
            row = replace(row, split="val" if part < val_fraction else "train")
        done.append(row)
    return done


def class_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """The class names in the order of their numbers; empty when labels are numbers already, or absent."""
    labels = {row.columns["label"] for row in rows if row.columns.get("label") not in (None, "")}
    if all(_is_number(label) for label in labels):
        return ()
    return tuple(sorted(str(label) for label in labels))


def safe_key(text: str) -> str:
    """A key that every reader takes: no dots (they end a key), spaces or leading slashes, at most 88 bytes."""
    key = _UNSAFE.sub("_", text).strip("/")
    if len(key) <= _KEY_LENGTH:
        return key
    return f"{key[: _KEY_LENGTH - 17]}-{fold(text):016x}"


def is_manifest(source: Path) -> bool:
    """Whether a file lists other files: a table whose first record has a column ``path``."""
    if not source.is_file() or source.suffix.lower() not in MANIFESTS:
        return False
    try:
        return bool(next(_records(source), (0, {}))[1].get("path"))
    except (DataError, UnicodeDecodeError, csv.Error):
        return False


def named_files(source: Path) -> Iterator[Path]:
    """The files of a folder, those that a manifest lists, or the file itself."""
    if source.is_dir():
        yield from source.rglob("*")
    elif is_manifest(source):
        yield from (Path(str(record.get("path", ""))) for _, record in _records(source))
    else:
        yield source


def _opened(rows: Iterable[Row], records: Records | None) -> Iterator[Row]:
    """Each file's samples in place of the file, numbered where they name no key; its columns are theirs too."""
    for row in rows:
        if records is None:
            yield row
            continue
        for number, record in enumerate(records(row.path)):
            columns = {**row.columns, **record.columns}
            key, split, group = (str(columns.pop(name, "") or "") for name in ("key", "split", "group"))
            own = row.key if record.span is None else f"{row.key}/{number:08d}"
            key = safe_key(key) if key else safe_key(own)
            yield Row(row.path, key, columns, _UNSAFE.sub("_", split), group, record.span)


def _folder(root: Path, extensions: Sequence[str]) -> Iterator[Row]:
    wanted = {"." + extension.lower().lstrip(".") for extension in extensions}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.suffix.lower() not in wanted or not path.is_file():
            continue
        columns = {"label": inside.parts[0]} if len(inside.parts) > 1 else {}
        yield Row(path, safe_key(inside.with_suffix("").as_posix()), columns)


def _manifest(source: Path) -> Iterator[Row]:
    for line, record in _records(source):
        if not record.get("path"):
            near = did_you_mean("path", record)
            raise DataError(f"{source}:{line}: no column 'path'{near}; it has {sorted(record)}")
        path = Path(str(record.pop("path")))
        key = str(record.pop("key", "") or path.with_suffix("").as_posix())
        split, group = (str(record.pop(name, "") or "") for name in ("split", "group"))
        full = path if path.is_absolute() else source.parent / path
        yield Row(full, safe_key(key), record, _UNSAFE.sub("_", split), group)


def _records(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        if source.suffix.lower() in (".csv", ".tsv"):
            reader = csv.DictReader(file, delimiter="\t" if source.suffix.lower() == ".tsv" else ",")
            for record in reader:
                record.pop(None, None)  # surplus cells
                yield reader.line_num, record
            return
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except ValueError as error:
                raise DataError(f"{source}:{number}: not a JSON object: {error}") from None
            if not isinstance(record, dict):
                raise DataError(f"{source}:{number}: not a JSON object but a {type(record).__name__}")
            yield number, record


def _no_duplicates(rows: Sequence[Row], source: Path) -> None:
    twice = [key for key, count in Counter(row.key for row in rows).items() if count > 1]
    if not twice:
        return
    paths = [str(row.path) for row in rows if row.key == twice[0]][:3]
    raise DataError(
        f"{len(twice)} keys of '{source}' belong to more than one file; '{twice[0]}' to {', '.join(paths)}",
        hint="rename the files, or give each sample a key of its own in a column 'key'",
    )


def _is_number(label: Any) -> bool:
    return isinstance(label, int) or (isinstance(label, str) and label.isdecimal())
