"""The members of a plain tar (ustar, pax and GNU long names): where each one's bytes lie.

Only headers are read. Nothing in them is trusted: checksums are verified, sizes must lie inside the file,
extension records have a limit, and the scan stops at the first header it cannot believe; what came
complete before it stays usable. Names never become paths here, so ``../`` in one can harm nothing.

Format: POSIX.1-2017, ``pax`` (the ustar interchange format and its extended headers); GNU tar manual,
"Basic Tar Format".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mmask.errors import DataError

BLOCK = 512
_LONGEST_RECORD = 1 << 20  # bytes of one pax or long-name record; real ones have a few hundred
_GZIP, _XZ, _BZIP, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd"
_WDS_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_WDS_META = re.compile(r"__[^/]*__($|/)|(.*/)?__[^./]*__[.]")  # also __meta__.json, which describes no sample


class Readable(Protocol):
    """Random access to the bytes of one file."""

    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...


class Member(NamedTuple):
    """A regular file in a tar: its name, where its bytes begin, how many they are."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong or odd in a shard.

    kind: ``torn`` (the file ends inside a member), ``unended`` (it ends without an end mark), ``header`` (a
    header that cannot be believed), ``special`` (links, devices, sparse files: skipped), ``unnamed`` (no
    extension or a dot file: skipped), ``unsorted`` (parts of a sample apart: joined), ``duplicate`` (a part
    comes twice: a second sample ``key#2``), ``path`` (absolute or ``..``: kept, a key is only a name),
    ``half`` (a part is missing), ``empty`` (a part without bytes), ``column`` (a metadata value that could
    not be read), ``unjoined`` (a key missing on one side of a join). count: how many. offset: of the first,
    in bytes.
    """

    kind: str
    detail: str
    offset: int = 0
    count: int = 1

    @property
    def harmful(self) -> bool:
        """Whether samples are lost, rather than merely odd."""
        return self.kind in {"torn", "header", "half", "empty"}


class Scan(NamedTuple):
    """What a scan saw: the complete members, in order, and what was wrong."""

    members: list[Member]
    findings: list[Finding]


def split_name(name: str) -> tuple[str, str] | None:
    """(key, field) of a member by WebDataset's naming, or None for one that belongs to no sample.

    The key is the path up to the first dot of the basename, the field is the rest, in lower case. Names
    like ``__meta__`` belong to none, nor do dot files.

    >>> split_name("cats/001.seg.PNG")
    ('cats/001', 'seg.png')
    """
    if _WDS_META.match(name):
        return None
    found = _WDS_NAME.fullmatch(name)
    if not found or found[1].endswith("/"):  # no extension, or a dot file
        return None
    return found[1], found[2].lower()


def scan(file: Readable, what: str) -> Scan:
    """The members of the tar ``file``; ``what`` names it in messages. Raises DataError if it is no tar."""
    scanner = _Scanner(file)
    first = file.read(0, BLOCK)
    if not first:
        raise DataError(f"{what} is empty", hint="its copy or download did not finish")
    _refuse_other_formats(first, what)
    while scanner.step():
        pass
    if not scanner.members and scanner.findings and scanner.findings[0].kind == "header":
        raise DataError(
            f"{what} is not a tar: {scanner.findings[0].detail}",
            hint="shards are plain tars as webdataset or tar write them",
        )
    return Scan(scanner.members, scanner.findings)


def _refuse_other_formats(first: bytes, what: str) -> None:
    for magic, name in ((_GZIP, "gzip"), (_XZ, "xz"), (_BZIP, "bzip2"), (_ZSTD, "zstd")):
        if first.startswith(magic):
            raise DataError(
                f"{what} is compressed with {name}: it has no random access",
                hint="unpack it to a plain .tar (images and audio do not shrink in a second packing)",
            )


class _Scanner:
    """Walks from header to header."""

    def __init__(self, file: Readable) -> None:
        self.file, self.at = file, 0
        self.members: list[Member] = []
        self.findings: list[Finding] = []
        self._name: str | None = None  # a long name waiting for its member
        self._size: int | None = None

    def step(self) -> bool:
        """Read one header; False at the end of what can be read."""
        here = self.at
        header = self.file.read(here, BLOCK)
        if len(header) < BLOCK:
            return self._ended_early(bool(header))
        if header.count(0) == BLOCK:
            return False  # the end mark
        if not _checksum_holds(header):
            return self._stop("header", f"bad header checksum at byte {here}", here)
        size = _number(header[124:136])
        kind = header[156:157]
        if kind in b"\x0007" and self._size is not None:
            size = self._size
        if size is None:
            return self._stop("header", f"unreadable size at byte {here}", here)
        body = here + BLOCK
        if kind in b"123456":  # links, devices, folders: no bytes follow, whatever their size field says
            size = 0
        if body + size > self.file.size:
            name = self._name or _text(header[:100])
            missing = body + size - self.file.size
            return self._stop("torn", f"it ends {missing} bytes before the end of member '{name}'", here)
        self.at = body + -(-size // BLOCK) * BLOCK
        return self._member(header, kind, body, size)

    def _ended_early(self, inside: bool) -> bool:
        if inside or self._name is not None or self._size is not None:
            return self._stop("torn", "it ends inside a header", self.at)
        return self._stop("unended", "no end mark: it may have been cut off between two members", self.at)

    def _member(self, header: bytes, kind: bytes, body: int, size: int) -> bool:
        if kind in b"LKxgX":
            if size > _LONGEST_RECORD:
                return self._stop("header", f"an extension record of {size} bytes at byte {body}", body)
            if kind not in b"Kg":
                self._extend(kind, self.file.read(body, size))
            return True
        name = self._name if self._name is not None else _plain_name(header)
        self._name = self._size = None
        if kind in b"\x0007" and not (kind == b"\x00" and name.endswith("/")):
            self.members.append(Member(name, body, size))
        elif kind != b"5" and not name.endswith("/"):
            self.findings.append(Finding("special", f"'{name}' is of type {kind.decode('latin1')!r}", body))
        return True

    def _extend(self, kind: bytes, record: bytes) -> None:
        if kind == b"L":
            self._name = _text(record)
            return
        fields = _pax(record)
        if "path" in fields:
            self._name = fields["path"]
        if fields.get("size", "").isdecimal():
            self._size = int(fields["size"])

    def _stop(self, kind: str, detail: str, offset: int) -> bool:
        self.findings.append(Finding(kind, detail, offset))
        return False


def _checksum_holds(header: bytes) -> bool:
    stored = _number(header[148:156])
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if stored == total:
        return True
    signed = total - 256 * sum(byte > 127 for byte in header[:148] + header[156:])  # old tars sum signed chars
    return stored == signed


def _number(field: bytes) -> int | None:
    """An octal field, or GNU's base 256 when the top bit is set; None when it is neither."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return value if value < 1 << 62 else None  # negative or absurd
    digits = field.split(b"\0", 1)[0].strip()
    if not digits:
        return 0
    return int(digits, 8) if all(48 <= byte <= 55 for byte in digits) else None


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _plain_name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _pax(record: bytes) -> dict[str, str]:
    """``"%d %s=%s\\n"`` records; reading stops at the first malformed one."""
    found: dict[str, str] = {}
    while record:
        length, space, _ = record.partition(b" ")
        if not space or not length.isdigit() or len(length) > 7:
            break
        end = int(length)
        line = record[len(length) + 1 : end]
        if end > len(record) or not line.endswith(b"\n") or b"=" not in line:
            break
        name, _, value = line[:-1].partition(b"=")
        found[name.decode("utf-8", "backslashreplace")] = value.decode("utf-8", "backslashreplace")
        record = record[end:]
    return found
