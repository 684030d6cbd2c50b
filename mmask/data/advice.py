"""What will go wrong with shards on a topology, told before a machine is taken.

Everything comes from the indices: nothing is decoded, and a large set is checked as fast as its indices load.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.data.check import read_amplification, runs
from mmask.data.index import ShardIndex
from mmask.data.sidecar import load_or_build
from mmask.data.store import find_shards
from mmask.data.tar import BLOCK
from mmask.data.texts import Texts
from mmask.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAIL, WARN, NOTE = "fail", "warn", "note"
LABELS = ("label", "cls")
_FEWEST_LABELS, _FEWEST_SIZES = 32, 128

_ADVICE = {
    "torn": (FAIL, "copy the shard again from where it was whole, or pack it again; its complete samples are usable"),
    "header": (FAIL, "copy the shard again from where it was whole; samples after the bad header are lost"),
    "empty": (FAIL, "these samples cannot be decoded and will go to the ledger; pack them again"),
    "duplicate": (WARN, "mmask reads the second one as a sample of its own; other readers stop or drop one"),
    "unsorted": (WARN, "mmask joins the parts; plain webdataset makes several half samples of them"),
    "path": (NOTE, "the key is only a name here, but unpacking the tar could write outside its folder"),
    "special": (NOTE, "links, devices and sparse files are skipped"),
    "unnamed": (NOTE, "files without an extension belong to no sample and are skipped"),
    "column": (WARN, "filters and class statistics do not see these samples"),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding. level: ``fail`` (samples or the run will be lost), ``warn`` or ``note``."""

    level: str
    kind: str
    where: str
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Who reads. streams, shuffle: of the recipe's data section. batch: samples of a step, 0 if not known.
    group: consecutive positions that an objective keeps together."""

    ranks: int = 1
    workers: int = 1
    streams: int = 64
    shuffle: int = 4096
    batch: int = 0
    group: int = 1

    @property
    def readers(self) -> int:
        """Processes that read: workers of all ranks (a rank without workers reads itself)."""
        return self.ranks * max(1, self.workers)

    @property
    def amplification(self) -> int:
        """How many readers visit each piece of a shard: 1 when every canonical stream has one owner."""
        return read_amplification(self.ranks, self.workers, self.streams, self.group)


@dataclass(frozen=True, slots=True)
class Checked:
    """The result. indices: of the shards that could be read."""

    shards: int
    samples: int
    advice: tuple[Advice, ...]

    @property
    def fails(self) -> bool:
        """Whether something will fail."""
        return any(one.level == FAIL for one in self.advice)


def advise(urls: Iterable[str], topology: Topology) -> Checked:
    """Check the shards of all patterns as one set. Raises DataError only when no shard is named at all."""
    refs = [ref for url in urls for ref in find_shards(url)]
    found: list[Advice] = []
    indices: list[tuple[str, ShardIndex]] = []
    for ref in refs:
        try:
            indices.append((ref.name, load_or_build(ref.url)))
        except (DataError, OSError) as error:
            hint = getattr(error, "hint", "") or "this shard cannot be used"
            found.append(Advice(FAIL, "unreadable", ref.name, getattr(error, "message", str(error)), hint))
    for name, index in indices:
        found += _of_shard(name, index)
    found += _parts(indices)
    samples = sum(len(index) for _, index in indices)
    found += _topology(len(refs), samples, topology)
    found += _order([index for _, index in indices], topology.shuffle)
    rank = {FAIL: 0, WARN: 1, NOTE: 2}
    return Checked(len(refs), samples, tuple(sorted(found, key=lambda one: rank[one.level])))


def _of_shard(name: str, index: ShardIndex) -> Iterator[Advice]:
    for one in index.findings:
        if one.kind == "half":
            continue  # `_parts` judges over all shards
        level, advice = _ADVICE.get(one.kind, (WARN, ""))
        times = f" and {one.count - 1} more" if one.count > 1 else ""
        yield Advice(level, one.kind, f"{name} @ {one.offset}", f"{one.detail}{times}", advice)
    if len(index) and not any(one.kind in ("torn", "header") for one in index.findings):
        ends = index.offsets.astype(np.int64) + index.sizes.astype(np.int64)
        last = -(-int(ends.max()) // BLOCK) * BLOCK
        if index.stamp.size < last + BLOCK:
            yield Advice(FAIL, "torn", f"{name} @ {index.stamp.size}", "it ends without an end mark: it was cut, or "
                         "its writer was, between two samples", _ADVICE["torn"][1])
    if not len(index):
        yield Advice(FAIL, "no samples", name, "the shard holds no sample", "leave it out of the pattern")


def _parts(indices: Sequence[tuple[str, ShardIndex]]) -> Iterator[Advice]:
    """Samples without a part that most have. Parts that never come together (``jpg`` in some samples, ``png`` in
    others) stand for each other, so a set of several formats is whole."""
    fields = sorted({part for _, index in indices for part in index.fields})
    together = np.zeros((len(fields), len(fields)), np.int64)
    for _, index in indices:
        there = _presence(index, fields)
        together += there.T.astype(np.int64) @ there
    apart = together == 0
    lacking = np.zeros(len(fields), np.int64)
    for _, index in indices:
        lacking += _lacks(_presence(index, fields), apart).sum(0)
    needed = np.flatnonzero((together.diagonal() > lacking) & (lacking > 0))
    for name, index in indices:
        lacks = _lacks(_presence(index, fields), apart)
        for part in needed[lacks[:, needed].any(axis=0)].tolist():
            yield _half(name, index, fields[part], np.flatnonzero(lacks[:, part]))
    mixed = np.flatnonzero(apart.any(0))
    if len(mixed):
        counts = ", ".join(f"{fields[part]} ({together[part, part]:,})" for part in mixed.tolist())
        yield Advice(NOTE, "mixed parts", "all shards", f"some of these parts never come together: {counts}",
                     "fine when one decoder takes them all")


def _presence(index: ShardIndex, fields: Sequence[str]) -> NDArray[np.bool_]:
    """(n, F) which sample has which part."""
    there = np.zeros((len(index), len(fields)), bool)
    for column, part in enumerate(index.fields):
        there[:, fields.index(part)] = index.offsets[:, column] > 0
    return there


def _lacks(there: NDArray[np.bool_], apart: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, F) which sample lacks which part, and has no other that may stand for it."""
    return ~there & ~((there.astype(np.int64) @ apart) > 0)


def _half(name: str, index: ShardIndex, part: str, rows: NDArray[np.int64]) -> Advice:
    if len(rows) == len(index):
        return Advice(FAIL, "missing part", name, f"no sample of it has '{part}', which most of the others have",
                      "shards of different kinds are mixed: name them as two sources, or pack them again")
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    first = index.offsets[rows[0]]
    return Advice(FAIL, "half", f"{name} @ {int(first[first > 0].min())}",
                  f"'{index.keys[int(rows[0])]}' has no '{part}'{more}",
                  "a decoder that needs the part will send these samples to the ledger; pack them again")


def _topology(shards: int, samples: int, topology: Topology) -> Iterator[Advice]:
    readers = topology.readers
    where = f"{topology.ranks} ranks x {topology.workers} workers"
    if samples < readers:
        yield Advice(FAIL, "too few samples", where, f"{samples} samples for {readers} readers",
                     "some readers would never have work: use fewer ranks or workers")
    if topology.batch and topology.batch % topology.ranks:
        near = max(1, round(topology.batch / topology.ranks)) * topology.ranks
        yield Advice(FAIL, "batch", where, f"a batch of {topology.batch} cannot be dealt to {topology.ranks} ranks",
                     f"the nearest that can is {near}")
    if topology.batch > samples:
        yield Advice(WARN, "batch", where, f"a batch of {topology.batch} holds every one of {samples} samples "
                     "more than once", "use a smaller batch or more data")
    if shards < readers:
        yield Advice(WARN, "few shards", where, f"{shards} shards for {readers} readers",
                     f"mmask shares a shard among readers; plain webdataset would leave {readers - shards} idle: "
                     f"smaller shards (--shard-size) serve both")
    if topology.amplification > 1:
        workers = _good_workers(topology)
        yield Advice(WARN, "amplification", where,
                     f"each piece of a shard is visited by {topology.amplification} readers: {readers} readers do "
                     f"not divide {topology.streams} streams",
                     f"--workers {workers} or data.streams={_multiple(topology.streams, readers)} gives every stream "
                     "one reader (data.streams is part of the order: set it before the first step)")


def _good_workers(topology: Topology) -> int:
    """The largest number of workers, at most the one asked for, at which each stream has one owner."""
    fits = [w for w in range(1, topology.workers + 1) if topology.streams % (topology.ranks * w) == 0]
    return fits[-1] if fits else 1


def _multiple(streams: int, readers: int) -> int:
    """The multiple of ``readers`` nearest to ``streams``, at least one."""
    return max(1, round(streams / readers)) * readers


def _order(indices: Sequence[ShardIndex], shuffle: int) -> Iterator[Advice]:
    """Stored order that is sorted by class or by size."""
    full = [index for index in indices if len(index)]
    for name in LABELS:
        if full and all(name in index.columns for index in full):
            yield from _labels(np.concatenate([_codes(index.columns[name]) for index in full]), name, shuffle)
            break
    if full:
        near = _neighbours(np.concatenate([index.column("size") for index in full]))
        if near > 0.5:
            yield Advice(WARN, "length runs", "column 'size'",
                         f"neighbours have like sizes (rank correlation {near:.2f})",
                         "batches will differ in cost and content: write the set again with mmask data pack")


def _codes(values: Any) -> NDArray[Any]:
    return np.array(values.list()) if isinstance(values, Texts) else np.asarray(values)


def _labels(labels: NDArray[Any], name: str, shuffle: int) -> Iterator[Advice]:
    """More equal neighbours than six standard deviations, and than a tenth of all that could be, can explain."""
    n, found = len(labels), runs(labels)
    if n < _FEWEST_LABELS or found.expected >= n:
        return
    equal, chance = (1 - (n / length - 1) / (n - 1) for length in (found.mean, found.expected))
    if equal <= chance + max(6 * (chance * (1 - chance) / (n - 1)) ** 0.5, 0.1 * (1 - chance)):
        return
    block = min(n, max(shuffle, 1))
    starts = range(0, n - block + 1, max(block, n // 64))
    inside = float(np.mean([len(np.unique(labels[at : at + block])) for at in starts]))
    yield Advice(WARN, "label runs", f"column '{name}'",
                 f"{equal:.0%} of neighbours share a class (in a random order {chance:.0%}); the longest run is "
                 f"{found.longest}; a shuffle block of {block} samples sees {inside:.0f} of {len(np.unique(labels))} "
                 "classes",
                 "the set is sorted by class: write it again with mmask data pack, which draws the order")


def _neighbours(sizes: NDArray[np.int64]) -> float:
    """Rank correlation of each value with the next one; 0 for fewer than 128 values or equal ones."""
    if len(sizes) < _FEWEST_SIZES or sizes.min() == sizes.max():
        return 0.0
    ranks = np.argsort(np.argsort(sizes, kind="stable"), kind="stable").astype(np.float64)
    return float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])
