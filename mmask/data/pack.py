"""Pack raw files into plain WebDataset tars: shuffled, verified, atomic, resumable.

Which sample lies where is a function of (rows, seed, sizes) alone, so any number of jobs writes the same
bytes. A shard is written aside, read back with an ordinary tar reader, every member compared by hash with
what was meant, and only then renamed. ``pack.jsonl`` in the output folder records the plan and each finished
shard; the same command again writes what is missing. Order is drawn, never class-sorted: a loader's shuffle
buffer cannot mend a sorted set.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mmask.data.rows import Row
from mmask.errors import DataError
from mmask.keyed import fold, permutation
from mmask.protocols import Packer

JOURNAL = "pack.jsonl"
CLASSES = "classes.json"
_PROBE = 64  # rows packed beforehand to learn the mean size


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The rows of one shard, in the order in which they are written."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ShardDone:
    """One finished shard. failed: (key, path, reason) of the files that could not be read."""

    name: str
    samples: int
    size: int
    sha256: str
    failed: list[list[str]] = field(default_factory=list)


def plan_shards(
    rows: Sequence[Row], packer: Packer, *, seed: int = 0, shard_bytes: int = 256 << 20,
    shard_count: int | None = None,
) -> list[ShardPlan]:
    """Cut each split into shards of equal counts (to one sample), in a seeded random order.

    shard_bytes: about how large a shard becomes, by the mean size of a few packed samples; shard_count:
    samples in a shard, which wins.
    """
    plans = []
    for split in sorted({row.split for row in rows}):
        part = [row for row in rows if row.split == split]
        order = permutation(np.asarray(fold(seed, "pack", split), np.uint64), len(part))
        part = [part[i] for i in order]
        each = shard_count or max(1, round(shard_bytes / _mean_size(part, packer)))
        count = -(-len(part) // each)
        cuts = [len(part) * i // count for i in range(count + 1)]
        plans += [
            ShardPlan(f"{split}-{i:06d}.tar", tuple(part[start:stop]))
            for i, (start, stop) in enumerate(pairwise(cuts))
        ]
    return plans


def pack(
    plans: Sequence[ShardPlan], packer: Packer, out: Path, *, classes: Sequence[str] = (), jobs: int = 1,
    done: Callable[[ShardDone], None] = lambda shard: None,
) -> list[ShardDone]:
    """Write the shards into ``out`` and return them in order; ``done`` is called as each one finishes.

    classes: class names in the order of their numbers, for rows whose label is a name.
    Raises `DataError` when ``out`` holds another pack, or when a shard does not read back as written.
    """
    out.mkdir(parents=True, exist_ok=True)
    mark = _fingerprint(plans, packer, classes)
    finished = _open_journal(out, mark)
    for shard in finished.values():
        done(shard)
    todo = [plan for plan in plans if plan.name not in finished]
    for shard in _run(todo, packer, out, tuple(classes), jobs):
        _append(out / JOURNAL, asdict(shard))
        finished[shard.name] = shard
        done(shard)
    if classes:
        (out / CLASSES).write_text(json.dumps(list(classes), indent=0) + "\n", encoding="utf-8")
    return [finished[plan.name] for plan in plans]


def write_shard(plan: ShardPlan, packer: Packer, out: Path, classes: Sequence[str] = ()) -> ShardDone:
    """Write, verify and rename one shard."""
    from webdataset.writer import TarWriter

    final, aside = out / plan.name, out / f"{plan.name}.tmp"
    hashes: dict[str, bytes] = {}
    failed, samples = [], 0
    with aside.open("wb") as file:
        # plain USTAR with fixed owner and time: the same samples give the same bytes
        with TarWriter(file, encoder=False, mtime=0, user="mmask", group="mmask", compress=False) as tar:
            for row in plan.rows:
                try:
                    parts = sample_parts(row, packer, classes)
                    tar.write({"__key__": row.key, **parts})
                except (DataError, OSError, ValueError) as error:
                    failed.append([row.key, str(row.path), f"{type(error).__name__}: {error}"])
                    continue
                samples += 1
                hashes.update({f"{row.key}.{part}": _digest(value) for part, value in parts.items()})
        file.flush()
        os.fsync(file.fileno())
    _verify(aside, hashes)
    sha, size = _sha256(aside), aside.stat().st_size
    os.replace(aside, final)
    return ShardDone(plan.name, samples, size, sha, failed)


def sample_parts(row: Row, packer: Packer, classes: Sequence[str] = ()) -> dict[str, bytes]:
    """What is stored for a row: the packer's parts, and its columns as ``cls``, ``txt`` and ``json``.

    Columns of bytes are for the packer alone. Raises DataError.
    """
    parts = dict(packed(row, packer))
    rest = {
        name: value for name, value in row.columns.items()
        if value not in (None, "") and not isinstance(value, bytes)
    }
    label, caption = rest.pop("label", None), rest.pop("caption", None)
    if label is not None and "cls" not in parts:
        number = classes.index(str(label)) if classes else int(label)
        parts["cls"] = str(number).encode()
    if caption is not None and "txt" not in parts:
        parts["txt"] = str(caption).encode()
    if rest and "json" not in parts:
        parts["json"] = json.dumps(rest, ensure_ascii=False, sort_keys=True).encode()
    for part in parts:
        if len(f"{row.key}.{part}") > 100:  # USTAR's limit; found here, before any part is in the tar
            raise DataError(f"the name '{row.key}.{part}' is longer than the 100 bytes a tar keeps")
    return parts


def packed(row: Row, packer: Packer) -> Mapping[str, bytes]:
    """The packer's parts of a row: a whole file, or a part of one. Raises DataError."""
    if row.span is None:
        return packer(row.path, row.columns)
    parts: Mapping[str, bytes] = packer.read(row.path, row.span, row.columns)  # type: ignore[attr-defined]  # has records
    return parts


def _run(
    plans: Sequence[ShardPlan], packer: Packer, out: Path, classes: tuple[str, ...], jobs: int
) -> Iterator[ShardDone]:
    if jobs <= 1 or len(plans) <= 1:
        for plan in plans:
            yield write_shard(plan, packer, out, classes)
        return
    import webdataset.writer  # noqa: F401 - once here and not in every process

    waiting, running = iter(plans), set[Future[ShardDone]]()
    method = "fork" if sys.platform.startswith("linux") else "spawn"
    with ProcessPoolExecutor(min(jobs, len(plans)), mp_context=get_context(method)) as pool:
        try:
            while True:
                for plan in islice(waiting, jobs + 1 - len(running)):
                    running.add(pool.submit(write_shard, plan, packer, out, classes))
                if not running:
                    return
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _verify(path: Path, hashes: Mapping[str, bytes]) -> None:
    seen: set[str] = set()
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            value = stream.read() if stream else b""
            if hashes.get(member.name) != _digest(value):
                raise DataError(
                    f"{path}: member '{member.name}' does not read back as it was written",
                    hint="check the disk and run the command again; finished shards are kept",
                )
            seen.add(member.name)
    if len(seen) != len(hashes):
        raise DataError(f"{path}: {len(hashes) - len(seen)} of {len(hashes)} members are missing after writing")


def _mean_size(rows: Sequence[Row], packer: Packer) -> float:
    sizes = []
    for row in rows[:_PROBE]:
        try:
            parts = packed(row, packer)
        except (DataError, OSError, ValueError):
            continue  # reported when its shard is written
        sizes.append(sum(512 + -(-len(value) // 512) * 512 for value in parts.values()) + 1024)
    return float(np.mean(sizes)) if sizes else 1 << 20


def _fingerprint(plans: Sequence[ShardPlan], packer: Packer, classes: Sequence[str]) -> str:
    """A hash of all that decides what is written, but the contents of the files."""
    state = hashlib.blake2b(repr(sorted(vars(packer).items()) if hasattr(packer, "__dict__") else "").encode())
    state.update(repr(tuple(classes)).encode())
    for plan in plans:
        state.update(plan.name.encode())
        for row in plan.rows:
            state.update(repr((row.key, str(row.path), row.span, sorted(row.columns.items()))).encode())
    return state.hexdigest()[:32]


def _open_journal(out: Path, mark: str) -> dict[str, ShardDone]:
    """The finished shards of an earlier run of the same plan that are still as they were written."""
    path = out / JOURNAL
    if not path.exists():
        strangers = sorted(file.name for file in out.glob("*.tar"))
        if strangers:
            raise DataError(f"'{out}' already holds shards ({strangers[0]}, ...)", hint="choose an empty --out")
        _append(path, {"plan": mark})
        return {}
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):  # torn by a crash
        path.write_text(text + "\n", encoding="utf-8")
    lines = [_parse(line) for line in text.splitlines()]
    if not lines or lines[0].get("plan") != mark:
        raise DataError(
            f"'{out}' holds a pack of other files or options", hint="choose another --out, or empty this one"
        )
    shards = [ShardDone(**line) for line in lines[1:] if line]
    return {shard.name: shard for shard in shards if _intact(out / shard.name, shard)}


def _intact(path: Path, shard: ShardDone) -> bool:
    return path.exists() and path.stat().st_size == shard.size and _sha256(path) == shard.sha256


def _parse(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:  # the line was torn by a crash: its shard is written again
        return {}


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(io.BufferedReader(file, 1 << 20), "sha256").hexdigest()
