"""A folder of plain files read as if it were one shard: for small sets that nobody wants to pack.

Files are grouped into samples by the same naming rule as in tars, with the path inside the folder as key.
When every file lies in a subfolder and there are several, the first level names classes: without ``cls``
parts, each sample gets one, its class's number in sorted order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from mmask.data.columns import LABEL_FIELD, Column, read_columns
from mmask.data.index import SUFFIX, ShardIndex
from mmask.data.store import Stamp, is_remote, local
from mmask.data.tar import split_name
from mmask.data.texts import Texts
from mmask.errors import DataError


def is_plain_folder(url: str) -> bool:
    """Whether ``url`` is a local folder without any tar in it."""
    if is_remote(url) or not os.path.isdir(local(url)):
        return False
    return not any(name.endswith(".tar") for _, _, names in os.walk(local(url)) for name in names)


def class_names(folder: str) -> list[str]:
    """The classes of a folder of class folders, sorted; empty when it is flat."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    if any(entry.is_file() and split_name(entry.name) for entry in visible):
        return []
    return sorted(entry.name for entry in visible if entry.is_dir())


def index_folder(folder: str, columns: Sequence[Column] = ()) -> tuple[ShardIndex, list[str]]:
    """The folder's index, and the files its offsets number from 1. Raises DataError when it has none."""
    files: list[str] = []
    rows: dict[str, dict[str, int]] = {}
    for path, name in _walk(folder):
        named = split_name(name)
        if named is None or path.endswith(SUFFIX):
            continue
        files.append(path)
        rows.setdefault(named[0], {})[named[1]] = len(files)
    if not rows:
        raise DataError(f"{folder} has no tars and no files with an extension")
    fields = tuple(sorted({name for row in rows.values() for name in row}))
    offsets = np.array([[row.get(name, 0) for name in fields] for row in rows.values()], np.int64)
    lengths = np.array([0, *(os.path.getsize(path) for path in files)], np.int64)
    keys = list(rows)
    classes = class_names(folder)
    given = {}
    if len(classes) > 1 and LABEL_FIELD not in fields:
        number = {name: at for at, name in enumerate(classes)}
        given[LABEL_FIELD] = np.array([number[key.split("/", 1)[0]] for key in keys], np.int64)
    index = ShardIndex(Texts.of(keys), fields, offsets, lengths[offsets], dict(given), (), Stamp(0), given)
    values, bad = read_columns(_Files(files), index, columns)
    return ShardIndex(index.keys, fields, offsets, index.sizes, {**values, **given}, bad, Stamp(0), given), files


def _walk(folder: str) -> list[tuple[str, str]]:
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(base, folder).replace(os.sep, "/")
        prefix = "" if inside == "." else inside + "/"
        found += [(os.path.join(base, name), prefix + name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda pair: pair[1])


class _Files:
    """Files seen as one store whose offsets are file numbers."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self.size = len(files)

    def read(self, offset: int, size: int) -> bytes:
        with open(self._files[offset - 1], "rb") as file:
            return file.read(size)
