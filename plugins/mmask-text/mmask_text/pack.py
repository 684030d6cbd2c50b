"""The document packer: text files, JSONL and tables -> one sample a document, for ``mmask data pack``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mmask.api import RecipeError, Record, SampleError, did_you_mean

_OWN = ("key", "label", "split", "group")  # columns that decide where a sample goes
_TABLES = {"csv": ",", "tsv": "\t"}


class DocumentPacker:
    """Text files become parts ``txt``; rows of JSONL, CSV and TSV become parts ``json`` with all their columns.

    field: the column that holds the text. documents: what one document of a text file is: the ``file``, what stands
    between ``blank`` lines, or a ``line``. key: a column of unique values, for the samples' keys; without it they are
    numbered. label: the column of the class (its names become numbers, listed in ``classes.json``); empty: no column is
    a class, and one of that name stays a value (a score). columns: names
    of the columns of a table without a header, in order, comma-separated. quotes: whether a table's cells may be
    quoted; by default in CSV and not in TSV, whose texts hold stray quotes. encoding: of the files; what is stored is
    UTF-8. min_chars: shorter texts, white space at the ends not counted, are not packed. Raises SampleError.
    """

    extensions = ("txt", "text", "md", "jsonl", "ndjson", "csv", "tsv")

    def __init__(
        self, *, field: str = "text", documents: Literal["file", "blank", "line"] = "file", key: str = "key",
        label: str = "label", columns: str = "", quotes: bool | None = None, encoding: str = "utf-8",
        min_chars: int = 1,
    ) -> None:
        if documents not in ("file", "blank", "line"):
            raise RecipeError(f"documents = '{documents}' is unknown; there are file, blank, line")
        try:
            "".encode(encoding)
        except LookupError:
            raise RecipeError(f"encoding '{encoding}' is unknown") from None
        if len("\n".encode(encoding).replace(b"\xff\xfe", b"")) != 1:
            raise RecipeError(f"encoding '{encoding}' has lines of wide characters; convert the files to UTF-8")
        self.field, self.documents, self.key, self.label = field, documents, key, label
        self.names = [name.strip() for name in columns.split(",")] if columns else []
        self.quotes, self.encoding, self.min_chars = quotes, encoding, min_chars

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """A whole text file, as one document."""
        if _kind(path) in ("json", *_TABLES):
            raise SampleError(f"{path} holds many samples, so it cannot be listed in a manifest")
        return {"txt": self._stored(path.read_bytes(), str(path))}

    def records(self, path: Path) -> Iterator[Record]:
        """The documents of one file, in order. Read as a stream; nothing of a text is held."""
        kind = _kind(path)
        if kind == "json":
            for span, line in _lines(path):
                if line.strip():
                    yield Record(span, self._about(_try_json(line)))
        elif kind in _TABLES:
            header = self._header(path)
            for number, (span, cells) in enumerate(_cells(path, self.encoding, self._quoted(path))):
                if (number or self.names) and cells:
                    yield Record(span, self._about(dict(zip(header, cells, strict=False))))
        elif self.documents == "file":
            yield Record()
        else:
            yield from (Record(span) for span in _paragraphs(path, self.documents == "line"))

    def read(self, path: Path, span: tuple[int, int], row: Mapping[str, Any]) -> dict[str, bytes]:
        """One of `records`."""
        with path.open("rb") as file:
            file.seek(span[0])
            data = file.read(span[1] - span[0])
        where, kind = f"{path} at byte {span[0]:,}", _kind(path)
        if kind == "text":
            return {"txt": self._stored(data, where)}
        text = self._decoded(data, where)
        if kind == "json":
            values = _try_json(text.encode())
            if values is None:
                raise SampleError(f"{where}: not a JSON object")
        else:
            header = self._header(path)
            cells = next(_reader(io.StringIO(text, newline=""), path, self._quoted(path)), [])
            if len(cells) != len(header):
                raise SampleError(f"{where}: {len(cells)} cells in a table of {len(header)} columns")
            values = dict(zip(header, cells, strict=True))
        return {"json": self._json(values, where)}

    def _json(self, values: Mapping[str, Any], where: str) -> bytes:
        text = values.get(self.field)
        if isinstance(text, list) and all(isinstance(part, str) for part in text):
            text = " ".join(text)
        if not isinstance(text, str):
            near = did_you_mean(self.field, values)
            raise SampleError(f"{where}: no text in '{self.field}'{near}; there are {', '.join(values)}")
        self._check(text, where)
        rest = {name: value for name, value in values.items() if name not in (self.key, self.label, "split", "group")}
        return json.dumps(rest, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def _stored(self, data: bytes, where: str) -> bytes:
        text = self._decoded(data, where)
        self._check(text, where)
        return text.encode()

    def _decoded(self, data: bytes, where: str) -> str:
        try:
            return data.decode(self.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise SampleError(
                f"{where}: byte {data[error.start]:#04x} at {error.start} is no {self.encoding}",
                hint="name the files' own: --encoding latin-1, cp1252, gb18030, ...",
            ) from None

    def _check(self, text: str, where: str) -> None:
        count = len(text.strip())
        if count < max(1, self.min_chars):
            raise SampleError(f"{where}: {count} characters" if count else f"{where}: empty")

    def _about(self, values: Mapping[str, Any] | None) -> dict[str, Any]:
        """The columns that decide where a sample goes, under the names that the pack knows."""
        if values is None:
            return {}
        names = {"key": self.key, "label": self.label, "split": "split", "group": "group"}
        return {own: values[names[own]] for own in _OWN if values.get(names[own]) not in (None, "")}

    def _header(self, path: Path) -> list[str]:
        return self.names or _header(path, self.encoding, self._quoted(path))

    def _quoted(self, path: Path) -> bool:
        return _kind(path) == "csv" if self.quotes is None else self.quotes


def _reader(lines: Iterable[str], path: Path, quoted: bool) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 30)
    return csv.reader(
        lines, delimiter=_TABLES[_kind(path)], quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )


def _cells(path: Path, encoding: str, quoted: bool) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """(span, cells) of every row of a table; a quoted cell may hold line ends."""
    start = stop = 0

    def lines() -> Iterator[str]:
        nonlocal stop
        for span, line in _lines(path):
            stop = span[1]
            yield line.decode(encoding, "replace").removeprefix("\ufeff")

    for cells in _reader(lines(), path, quoted):
        yield (start, stop), cells
        start = stop


@lru_cache(maxsize=64)
def _header(path: Path, encoding: str, quoted: bool) -> list[str]:
    return next((cells for _, cells in _cells(path, encoding, quoted)), [])


def _kind(path: Path) -> str:
    suffix = path.suffix.lower().lstrip(".")
    return "json" if suffix in ("jsonl", "ndjson") else suffix if suffix in _TABLES else "text"


def _lines(path: Path) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    with path.open("rb") as file:
        for line in file:
            yield (at, at + len(line)), line
            at += len(line)


def _paragraphs(path: Path, single: bool) -> Iterator[tuple[int, int]]:
    """Spans of lines, or of runs of lines between blank ones."""
    start = stop = -1
    for span, line in _lines(path):
        blank = not line.strip()
        if start >= 0 and (blank or single):
            yield start, stop
            start = -1
        if not blank:
            start = span[0] if start < 0 else start
            stop = span[1]
    if start >= 0:
        yield start, stop


def _try_json(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:  # told when the sample is read
        return None
    return found if isinstance(found, dict) else None

