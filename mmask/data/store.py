"""Where shards live: local paths, http(s) with range reads, any fsspec URL; and what a pattern names.

    train-{000..127}.tar         a range, zero-padded like its first end
    {train,extra}-{0..3}.tar     a list, and several braces
    shards/*.tar                 a glob (local and fsspec stores)
    shards/                      a folder of tars, or of plain files (`mmask.data.folder`)
    https://host/t-{0..9}.tar    range reads; the server must support them
    memory://t.tar  s3://b/t.tar any store that fsspec knows

A shard's name is its path relative to the part of the pattern that does not vary, so that sample ids do not
depend on where a machine keeps its data.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmask.errors import DataError

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 10_000_000
_ATTEMPTS = 5
_BACK_OFF = 0.25  # seconds before the second attempt; doubles


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one version of a file from another: bytes, modification time, the server's tag."""

    size: int
    mtime_ns: int = 0
    tag: str = ""


class Store(Protocol):
    """Random access to one file."""

    size: int
    stamp: Stamp

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...

    def close(self) -> None:
        """Give the handle back."""
        ...


@dataclass(frozen=True, slots=True)
class ShardRef:
    """One shard: its full URL and its name in sample ids."""

    url: str
    name: str


def scheme(url: str) -> str:
    """``http``, ``s3``, ``memory``...; an empty string for a local path."""
    head, sep, _ = url.partition("://")
    return head.lower() if sep and head.isalnum() else ""


def is_remote(url: str) -> bool:
    """Whether reads go over a network."""
    return scheme(url) not in ("", "file")


def local(url: str) -> str:
    """The path of a local URL."""
    return os.path.expanduser(url.removeprefix("file://"))


def expand(pattern: str) -> list[str]:
    """All URLs a brace pattern names, left-most brace slowest.

    >>> expand("t-{08..10}-{a,b}.tar")
    ['t-08-a.tar', 't-08-b.tar', 't-09-a.tar', 't-09-b.tar', 't-10-a.tar', 't-10-b.tar']
    """
    found = _BRACE.search(pattern)
    if not found:
        if "{" in pattern or "}" in pattern:
            raise DataError(f"'{pattern}' has an unmatched brace", hint="write {000..127} or {a,b}")
        return [pattern]
    tails = expand(pattern[found.end() :])
    head = pattern[: found.start()]
    choices = [choice for part in found[1].split(",") for choice in _choices(part, pattern)]
    if len(choices) * len(tails) > _MOST_SHARDS:
        raise DataError(f"'{pattern}' names more than {_MOST_SHARDS} shards")
    return [head + choice + tail for choice in choices for tail in tails]


def _choices(part: str, pattern: str) -> list[str]:
    found = _RANGE.fullmatch(part.strip())
    if not found:
        return [part]
    first, last = int(found[1]), int(found[2])
    if last < first or last - first >= _MOST_SHARDS:
        raise DataError(f"'{pattern}' counts from {found[1]} to {found[2]}", hint="write {000..127}")
    width = len(found[1]) if found[1].startswith("0") or len(found[1]) == len(found[2]) else 1
    return [str(number).zfill(width) for number in range(first, last + 1)]


def find_shards(url: str) -> list[ShardRef]:
    """The tars that ``url`` names, in the order written (folders and globs: by name).

    Raises DataError when there is none, one is missing on a local disk, or one is named twice.
    """
    if url.startswith("pipe:"):
        raise DataError(
            f"'{url}' is a pipe: it has no random access",
            hint="give the URL itself: http(s) and any fsspec store are read directly",
        )
    if not is_remote(url) and os.path.isdir(local(url)):
        return _in_folder(local(url))
    root = _root(url)
    urls = [found for one in expand(url) for found in (_glob(one) if _globs(one) else [one])]
    if not urls:
        raise DataError(f"no file matches '{url}'")
    missing = [one for one in urls if not is_remote(one) and not os.path.isfile(local(one))]
    if missing:
        raise DataError(
            f"'{missing[0]}' does not exist ({len(missing)} of {len(urls)} shards of '{url}')",
            hint=_near_files(local(missing[0])),
        )
    if len(set(urls)) != len(urls):
        twice = next(one for one in urls if urls.count(one) > 1)
        raise DataError(f"'{url}' names '{twice}' twice", hint="each shard may come once")
    return [ShardRef(one, one[len(root) :]) for one in urls]


def _near_files(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    there = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".tar")
    few = ", ".join(there[:3]) + (" ..." if len(there) > 3 else "")
    return f"{folder} has {few or 'no tar'}"


def _in_folder(folder: str) -> list[ShardRef]:
    root = Path(folder)
    return [ShardRef(str(path), path.relative_to(root).as_posix()) for path in sorted(root.rglob("*.tar"))]


def _globs(url: str) -> bool:
    return scheme(url) not in ("http", "https") and any(letter in url for letter in "*[")


def _root(url: str) -> str:
    fixed = re.split(r"[{*\[]", url, maxsplit=1)[0]
    return fixed[: fixed.rfind("/") + 1]


def _glob(url: str) -> list[str]:
    if not is_remote(url):
        import glob

        return sorted(glob.glob(local(url), recursive=True))
    fs, path = _filesystem(url)
    return sorted(fs.unstrip_protocol(found) for found in fs.glob(path))


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise DataError(f"'{url}' cannot be opened: {error}") from error


def open_store(url: str) -> Store:
    """The file at ``url``, open for random access. Raises DataError when it cannot be."""
    kind = scheme(url)
    if kind in ("", "file"):
        return LocalStore(local(url))
    if kind in ("http", "https"):
        from mmask.data.http import HttpStore

        return HttpStore(url)
    return FsspecStore(url)


class LocalStore:
    """A file on disk, read with ``pread``: no seek, so threads can share it."""

    def __init__(self, path: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{path} cannot be opened: {error.strerror}") from error
        stat = os.fstat(self._fd)
        self.path, self.size = path, stat.st_size
        self.stamp = Stamp(stat.st_size, stat.st_mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """As `Store.read`."""
        data = os.pread(self._fd, size, offset)
        while len(data) < size:  # pread may stop early on network file systems and above 2 GiB
            more = os.pread(self._fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Close the descriptor; more than once does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


class FsspecStore:
    """A file in any fsspec store. Failed reads are repeated with growing pauses."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._path = _filesystem(url)
        info = self._retried(lambda: self._fs.info(self._path))
        self.size = int(info["size"])
        tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or info.get("LastModified") or ""
        made = info.get("mtime") or info.get("created") or 0
        self.stamp = Stamp(self.size, 0, str(tag or made).strip('"'))

    def read(self, offset: int, size: int) -> bytes:
        """As `Store.read`."""
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        return bytes(self._retried(lambda: self._fs.cat_file(self._path, start=offset, end=end)))

    def _retried(self, act: Any) -> Any:
        for attempt in range(_ATTEMPTS):
            try:
                return act()
            except FileNotFoundError as error:
                raise DataError(f"{self.url} does not exist") from error
            except Exception as error:
                if attempt == _ATTEMPTS - 1:
                    raise DataError(f"{self.url} cannot be read after {_ATTEMPTS} attempts: {error}") from error
                time.sleep(_BACK_OFF * 2**attempt)
        raise AssertionError

    def close(self) -> None:
        """Nothing is held open."""


class Windowed:
    """Sequential small reads through large ones: what a header scan of a remote file needs."""

    def __init__(self, store: Store, window: int = 1 << 20) -> None:
        self.size = store.size
        self._store, self._window = store, window
        self._at, self._data = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """As `Store.read`."""
        start = offset - self._at
        if start < 0 or start + size > len(self._data):
            self._at, start = offset, 0
            self._data = self._store.read(offset, max(size, self._window))
        return self._data[start : start + size]


class StoreCache:
    """The most recently used stores, open; bounded, so that ten thousand shards need few descriptors."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._open: dict[str, Store] = {}
        self._lock = threading.Lock()

    def get(self, url: str) -> Store:
        """The open store of ``url``."""
        with self._lock:
            store = self._open.pop(url, None)
            if store is None:
                store = open_store(url)
            self._open[url] = store
            if len(self._open) > self._most:  # dropped, not closed: a thread may still be reading from it
                self._open.pop(next(iter(self._open)))
            return store

    def __reduce__(self) -> tuple[Any, ...]:  # a worker opens its own
        return (StoreCache, (self._most,))
