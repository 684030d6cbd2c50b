"""Rows of text about pictures -> shards in which every row has its pictures beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from mmask.api import DataError, SampleError, open_source

TEXTS = ("json", "txt", "text", "cls")  # what stands beside a stored picture and is not about the row


def put_together(
    rows: Path, urls: Sequence[str], out: Path, *, keys: Sequence[str] = ("picture",), size: int = 1000,
) -> int:
    """Write shards of ``size`` rows each -> how many rows.

    rows: JSON lines, each a table (a question and its answer, a statement about two pictures) that names its pictures
    by the sample key of ``urls``, in the columns ``keys``. A sample gets the row as its part ``json``, the parts of its
    first picture under their names (``npz``), of its second under ``2.npz``, and so on. Several rows may be about one
    picture. Raises DataError for a row that is none, or a picture that is not there, or there twice.
    """
    source = open_source(urls[0] if len(urls) == 1 else f"{{{','.join(urls)}}}")
    known: dict[str, int] = {}
    twice = set()
    for row in range(len(source)):
        try:
            key = source.read(row).id.key
        except SampleError:
            continue
        if known.setdefault(key, row) != row:
            twice.add(key)
    lines = [line for line in rows.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{rows} has no rows")
    out.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(lines), size)):
        here = enumerate(lines[start : start + size], start)
        _write(out / f"{rows.stem}-{number:06d}.tar",
               [(i, _row(rows, i, line, keys, known, twice)) for i, line in here], source, keys, known)
    return len(lines)


def _row(
    file: Path, number: int, line: str, keys: Sequence[str], known: Mapping[str, int], twice: Set[str]
) -> dict[str, Any]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{file}, line {number + 1} is no JSON: {error}") from error
    for key in keys:
        if not isinstance(row, dict) or key not in row:
            raise DataError(f"{file}, line {number + 1} does not say '{key}'", hint="--key names the column")
        if str(row[key]) not in known:
            near = ", ".join(list(known)[:3])
            what = f"{file}, line {number + 1}: there is no picture '{row[key]}'"
            raise DataError(what, hint=f"keys are {near}, ...")
        if str(row[key]) in twice:
            raise DataError(f"{file}, line {number + 1}: several pictures are called '{row[key]}'",
                            hint="name only the shards that are meant: --pictures")
    made: dict[str, Any] = row
    return made


def _write(
    final: Path, rows: Sequence[tuple[int, dict[str, Any]]], source: Any, keys: Sequence[str],
    known: Mapping[str, int],
) -> None:
    from webdataset.writer import TarWriter

    aside = final.with_name(f"{final.name}.tmp")
    with aside.open("wb") as file:
        with TarWriter(file, encoder=False, mtime=0, user="mmask", group="mmask", compress=False) as tar:
            for number, row in rows:
                parts: dict[str, Any] = {"json": json.dumps(row, ensure_ascii=False).encode()}
                for place, key in enumerate(keys, start=1):
                    stored = source.read(known[str(row[key])]).parts
                    ahead = "" if place == 1 else f"{place}."
                    parts |= {f"{ahead}{name}": value for name, value in stored.items() if name not in TEXTS}
                tar.write({"__key__": f"{number:08d}", **parts})
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, final)
