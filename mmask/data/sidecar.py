"""Where indices are kept, when they are stale, and how many shards are indexed at once.

Beside the tar as ``<shard>.mmidx``; in the user's cache when the folder cannot be written to or the shard is
remote. A file is written aside, synced and renamed, so a killed run leaves no half index, and what is
there and fresh is never done again: `build_index` goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path

from mmask.data.columns import Column
from mmask.data.index import SUFFIX, ShardIndex, dump_index, index_tar, load_index
from mmask.data.store import ShardRef, Stamp, Store, find_shards, is_remote, local, open_store, scheme
from mmask.errors import DataError, IndexMissingError

_PROBE = 256 << 10  # bytes read to estimate how long indexing a remote shard would take


@dataclass(frozen=True, slots=True)
class Built:
    """What happened to one shard: ``built``, ``fresh`` (nothing to do) or ``failed`` with the reason. fields: its
    parts."""

    url: str
    state: str
    samples: int = 0
    sidecar: str = ""
    reason: str = ""
    fields: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Where indices go that cannot lie beside their tar: ``$MMASK_CACHE`` or the user's cache."""
    base = os.environ.get("MMASK_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmask"


def cached_path(url: str) -> Path:
    """The cache's file for the index of ``url``."""
    known = url if is_remote(url) else os.path.abspath(local(url))
    return cache_folder() / "index" / (blake2b(known.encode(), digest_size=16).hexdigest() + SUFFIX)


def find_index(url: str, columns: Sequence[Column] = (), store: Store | None = None) -> ShardIndex | None:
    """The fresh index of a shard with these columns, from beside it or from the cache; else None."""
    stamp = store.stamp if store else _stamp(url)
    for read in (_beside, _from_cache):
        data = read(url)
        if data is None:
            continue
        try:
            index = load_index(data)
        except DataError:
            continue  # another version, or damaged: as good as none
        if _fresh(index.stamp, stamp, is_remote(url)) and all(column.name in index.columns for column in columns):
            return index
    return None


def load_or_build(url: str, columns: Sequence[Column] = ()) -> ShardIndex:
    """The index of a shard. A local tar is indexed now if need be; a remote one raises IndexMissingError."""
    store = open_store(url)
    index = find_index(url, columns, store)
    if index is not None:
        return index
    if is_remote(url):
        raise _missing(url, store, columns)
    return _build(url, store, columns)[0]


def build_index(
    urls: str | Iterable[str],
    jobs: int = 1,
    columns: Sequence[Column] = (),
    *,
    force: bool = False,
    progress: Callable[[Built], None] | None = None,
) -> list[Built]:
    """Index every shard that ``urls`` name (patterns allowed), ``jobs`` at a time, skipping what is fresh.

    A shard that fails is reported, and the others go on. ``progress`` is told of each as it is done.
    """
    patterns = [urls] if isinstance(urls, str) else list(urls)
    shards = list(dict.fromkeys(ref.url for pattern in patterns for ref in find_shards(pattern)))
    work = [(url, tuple(columns), force) for url in shards]
    found: list[Built] = []
    if jobs <= 1 or len(shards) <= 1:
        results: Iterable[Built] = map(_build_one, work)
        return [_told(one, progress) for one in results]
    with _pool(shards, jobs) as pool:
        found.extend(_told(one, progress) for one in pool.map(_build_one, work))
    return found


def _pool(shards: Sequence[str], jobs: int) -> Executor:
    """Processes for local tars (parsing is the work), threads for remote ones (waiting is the work)."""
    jobs = min(jobs, len(shards))
    if any(is_remote(url) for url in shards):
        return ThreadPoolExecutor(jobs)
    return ProcessPoolExecutor(jobs, mp_context=get_context("fork" if hasattr(os, "fork") else "spawn"))


def _told(one: Built, progress: Callable[[Built], None] | None) -> Built:
    if progress:
        progress(one)
    return one


def _build_one(work: tuple[str, tuple[Column, ...], bool]) -> Built:
    url, columns, force = work
    try:
        store = open_store(url)
        index = None if force else find_index(url, columns, store)
        if index is not None:
            return Built(url, "fresh", len(index), fields=index.fields)
        index, path = _build(url, store, columns)
        return Built(url, "built", len(index), path, fields=index.fields)
    except (DataError, OSError) as error:
        return Built(url, "failed", reason=str(error))


def _build(url: str, store: Store, columns: Sequence[Column]) -> tuple[ShardIndex, str]:
    index = index_tar(store, url, columns, remote=is_remote(url))
    return index, _keep(url, dump_index(index))


def _keep(url: str, data: bytes) -> str:
    """Write beside the tar, or into the cache. -> where."""
    if not is_remote(url):
        beside = Path(local(url) + SUFFIX)
        try:
            write_aside(beside, data)
            return str(beside)
        except OSError:
            pass  # a read-only folder
    elif scheme(url) not in ("http", "https"):
        try:
            _put(url + SUFFIX, data)
            return url + SUFFIX
        except Exception:
            pass  # a store without write access: any error it likes to raise means the cache is used
    path = cached_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, data)
    return str(path)


def write_aside(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the whole new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _put(url: str, data: bytes) -> None:
    import fsspec

    fs, path = fsspec.core.url_to_fs(url)
    fs.pipe_file(path, data)


def _beside(url: str) -> bytes | None:
    kind = scheme(url)
    if kind in ("", "file"):
        try:
            return Path(local(url) + SUFFIX).read_bytes()
        except OSError:
            return None
    if kind in ("http", "https"):
        from mmask.data.http import fetch

        return fetch(url + SUFFIX)
    import fsspec

    fs, path = fsspec.core.url_to_fs(url + SUFFIX)
    try:
        return fs.cat_file(path)
    except FileNotFoundError:
        return None


def _from_cache(url: str) -> bytes | None:
    try:
        return cached_path(url).read_bytes()
    except OSError:
        return None


def _stamp(url: str) -> Stamp:
    if is_remote(url):
        return open_store(url).stamp
    stat = os.stat(local(url))
    return Stamp(stat.st_size, stat.st_mtime_ns)


def _fresh(indexed: Stamp, now: Stamp, remote: bool) -> bool:
    """Size always; then the time on a local disk, the tag on a server. An index made on a disk and copied
    to a server together with its tar has no tag: its size must do."""
    if indexed.size != now.size:
        return False
    if remote:
        return not indexed.tag or indexed.tag == now.tag
    return indexed.mtime_ns == now.mtime_ns


def _missing(url: str, store: Store, columns: Sequence[Column]) -> IndexMissingError:
    options = "".join(f" --column {column.name}={'.'.join((column.field, *column.path))}" for column in columns)
    start = time.perf_counter()
    probe = store.read(0, _PROBE)
    seconds = (time.perf_counter() - start) * store.size / max(1, len(probe))
    return IndexMissingError(
        f"{url} has no fresh index, and a remote tar is not read through unasked",
        hint=f"run: mmask data index '{url}'{options}\n  (about {_span(seconds)} for this shard of "
        f"{store.size / 1e6:.1f} MB; --jobs does several at once)",
    )


def _span(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def shard_refs(urls: Iterable[str]) -> list[ShardRef]:
    """The shards of several patterns, in order."""
    return [ref for url in urls for ref in find_shards(url)]
