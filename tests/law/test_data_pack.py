"""Packs and buckets over ranks and workers: the same steps everywhere, once an epoch, exact resume, faults."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmask.data.bundle import Rule
from mmask.data.loader import Loader
from mmask.data.packing import best_fit, buckets
from mmask.data.source import open_source
from mmask.data.stream import Stream
from mmask.data.window import Windows, lanes_for
from mmask.errors import DataError, FaultBudgetError, SampleError, UsageError
from mmask.keyed import fold
from mmask.testing.shards import write_shards
from mmask.types import Batch

LENGTH, BATCH, WINDOW = 32, 4, 20
PACK = Rule("text", WINDOW, length=LENGTH)
BUCKET = Rule("text", WINDOW, size=2)
TOPOLOGIES = [(1, 1), (2, 0), (2, 3), (4, 1)]


def size_of(name: str) -> int:
    """A log-normal length of a sample, now and then longer than a pack."""
    return 1 + int(np.exp(np.random.default_rng(fold(name)).normal(2.0, 0.9)))


class Words:
    """Decodes a sample to ids that tell where they came from; companions of the same length; a label."""

    ragged = ("text", "text.word", "other")

    def __init__(self, bad: tuple[str, ...] = ()) -> None:
        self.bad = bad

    def __call__(self, sample: Any, keys: Any) -> dict[str, Any]:
        if sample.id.key in self.bad:
            raise SampleError(f"{sample.id} is bad")
        n = size_of(str(sample.id))
        ids = np.arange(n) + 1000 * (sample.id.digest() % 1000)
        return {"text": ids, "text.word": ids // 2, "other": np.arange(3), "label": int(sample.parts["cls"])}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("shards"), [31, 17, 40])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("other"), [13], stem="o")


def stream_of(*urls: str, weights: tuple[float, ...] | None = None) -> Stream:
    sources = [open_source(url, f"s{number}") for number, url in enumerate(urls)]
    return Stream(sources, seed=5, streams=8, shuffle=20, weights=weights)


def steps_of(stream: Stream, ranks: int, workers: int, steps: int, *, start: int = 0, rule: Rule = PACK,
             bad: tuple[str, ...] = (), **options: Any) -> list[list[Batch]]:
    """Step -> the ranks' batches."""
    runs = []
    for rank in range(ranks):
        with Loader(stream, {"words": Words(bad)}, batch_size=BATCH * rule.size, rank=rank, world=ranks,
                    workers=workers, start=start * BATCH * rule.size, seed=5, limit=steps * BATCH * rule.size,
                    rule=rule, **{"fault_budget": 1.0, **options}) as loader:
            runs.append(list(loader))
    return [list(batches) for batches in zip(*runs, strict=True)]


def packs(batch: Batch) -> list[tuple[Any, ...]]:
    """Each pack as what its samples are: name, visit, id, values."""
    assert batch.packs is not None
    rows = [
        (name, int(visit), int(one), tuple(text[:n].tolist()), tuple(word[:n].tolist()))
        for name, visit, one, text, word, n in zip(
            batch.names, batch.visits, batch.ids, batch["text"], batch["text.word"], batch["text.length"].tolist(),
            strict=True)
    ]
    return [tuple(rows[a:b]) for a, b in itertools.pairwise(batch.packs.tolist())]


def whole(batches: list[Batch]) -> Counter[tuple[Any, ...]]:
    return Counter(pack for batch in batches for pack in packs(batch))


def members(batches: list[Batch]) -> Counter[tuple[str, int]]:
    return Counter((name, int(v)) for batch in batches for name, v in zip(batch.names, batch.visits, strict=True))


@pytest.mark.parametrize(("ranks", "workers"), TOPOLOGIES)
@pytest.mark.parametrize("kind", ["single", "mixture"])
def test_step_k_holds_the_same_packs_on_every_topology(
    pattern: str, other: str, ranks: int, workers: int, kind: str
) -> None:
    stream = stream_of(pattern) if kind == "single" else stream_of(pattern, other, weights=(0.7, 0.3))
    for one, many in zip(steps_of(stream, 1, 0, 12), steps_of(stream, ranks, workers, 12), strict=True):
        assert whole(one) == whole(many)
        assert all(len(packs(batch)) == BATCH // ranks for batch in many)


def test_a_rank_gets_bit_identical_batches_from_any_number_of_workers(pattern: str) -> None:
    stream = stream_of(pattern)
    for (one,), (two,) in zip(steps_of(stream, 1, 0, 8), steps_of(stream, 1, 3, 8), strict=True):
        assert packs(one) == packs(two)
        assert torch.equal(one["text"], two["text"])
        assert (one.position, one.epoch) == (two.position, two.epoch)


@pytest.mark.parametrize("step", [1, 5, 11])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 0)])
@pytest.mark.parametrize("known", [False, True])
def test_resuming_at_a_step_equals_never_having_stopped(
    pattern: str, tmp_path: Path, step: int, ranks: int, workers: int, known: bool
) -> None:
    stream, trail = stream_of(pattern), tmp_path / "windows.txt" if known else None
    straight = steps_of(stream, 1, 0, 14, trail=trail)
    rest = steps_of(stream, ranks, workers, 14 - step, start=step, trail=trail)
    for one, many in zip(straight[step:], rest, strict=True):
        assert whole(one) == whole(many)


def test_the_trail_saves_reading_and_survives_a_torn_line(pattern: str, tmp_path: Path) -> None:
    class Counting(Words):
        calls = 0

        def __call__(self, sample: Any, keys: Any) -> dict[str, Any]:
            Counting.calls += 1
            return super().__call__(sample, keys)

    def read(start: int, path: Path | None) -> list[Batch]:
        Counting.calls = 0
        with Loader(stream, {"words": Counting()}, batch_size=BATCH, start=start * BATCH, seed=5, limit=BATCH,
                    rule=PACK, trail=path) as loader:
            return list(loader)

    stream, trail = stream_of(pattern), tmp_path / "windows.txt"
    steps_of(stream, 2, 0, 61, trail=trail)
    expected = read(60, None)
    assert Counting.calls > 10 * WINDOW
    with trail.open("a") as file:
        file.write("0 9")
    found = read(60, trail)
    lanes = lanes_for(len(stream), 8, WINDOW, BATCH)
    assert Counting.calls <= lanes * 3 * WINDOW
    assert whole(found) == whole(expected)
    trail.write_text("another run\n0 5 1\n")
    assert whole(read(60, trail)) == whole(expected)


def test_every_sample_comes_once_an_epoch_in_packs_that_hold_it(pattern: str) -> None:
    stream = stream_of(pattern)
    batches = [batch for step in steps_of(stream, 1, 0, 80) for batch in step]
    pieces: Counter[tuple[int, str]] = Counter()
    for batch in batches:
        for pack in packs(batch):
            assert 0 < sum(len(text) for *_, text, _ in pack) <= LENGTH
        for name, visit in zip(batch.names, batch.visits, strict=True):
            pieces[int(visit), name] += 1
    assert set(pieces.values()) == {1}
    first = {name.partition("[")[0] for visit, name in pieces if visit == 0}
    assert len(first) == len(stream)


def test_long_samples_are_cut_into_chunks_of_their_own(pattern: str) -> None:
    stream = stream_of(pattern)
    found: dict[str, list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]] = {}
    for batches in steps_of(stream, 1, 0, 60):
        assert batches[0]["other"].shape[1] == 3  # of another length: repeated
        for pack in packs(batches[0]):
            for name, visit, one, text, word in pack:
                if visit == 0:
                    at = int(name.partition("[")[2].rstrip("]") or -1)
                    found.setdefault(name.partition("[")[0], []).append((at, one, text, word))
    cut = {name: sorted(rows) for name, rows in found.items() if len(rows) > 1}
    assert len(cut) >= 3
    for name, rows in cut.items():
        assert [row[0] for row in rows] == list(range(len(rows)))
        assert len({row[1] for row in rows}) == len(rows)
        text = [value for row in rows for value in row[2]]
        assert len(text) == size_of(name)
        assert [value % 1000 for value in text] == list(range(len(text)))
        assert [value for row in rows for value in row[3]] == [value // 2 for value in text]


@pytest.mark.parametrize(("ranks", "workers"), TOPOLOGIES)
def test_unreadable_samples_are_left_out_and_stand_in_the_ledger_once(
    pattern: str, tmp_path: Path, ranks: int, workers: int
) -> None:
    stream, bad = stream_of(pattern), ("00003", "00011")
    plain = steps_of(stream, 1, 0, 12, bad=bad, ledger=tmp_path / "a.jsonl")
    spread = steps_of(stream, ranks, workers, 12, bad=bad, ledger=tmp_path / "b.jsonl")
    for one, many in zip(plain, spread, strict=True):
        assert whole(one) == whole(many)
        assert not any(name.endswith(bad) for batch in many for name in batch.names)
    lines = [sorted((tmp_path / name).read_text().splitlines()) for name in ("a.jsonl", "b.jsonl")]
    assert lines[0] == lines[1]
    assert len(lines[0]) >= 3
    with pytest.raises(FaultBudgetError):
        steps_of(stream, 1, 0, 12, bad=bad, fault_budget=0.001)


def test_data_without_a_readable_sample_or_without_the_field_stop(pattern: str) -> None:
    keys = tuple(f"{row:05d}" for row in range(40))
    with pytest.raises(DataError, match="whole epoch of lane"):
        steps_of(stream_of(pattern), 1, 0, 1, bad=keys)
    with pytest.raises(DataError, match="no ragged field 'txt'"):
        steps_of(stream_of(pattern), 1, 0, 1, rule=Rule("txt", length=8))
    with pytest.raises(UsageError, match="groups of 2"):
        steps_of(stream_of(pattern), 1, 0, 1, group=2)


@pytest.mark.parametrize(("ranks", "workers"), TOPOLOGIES)
def test_buckets_obey_the_same_laws(pattern: str, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    plain = steps_of(stream, 1, 0, 40, rule=BUCKET)
    for one, many in zip(plain, steps_of(stream, ranks, workers, 40, rule=BUCKET), strict=True):
        assert members(one) == members(many)
    seen: Counter[tuple[str, int]] = Counter()
    for step in plain:
        seen += members(step)
    assert set(seen.values()) == {1}
    assert sum(visit == 0 for _, visit in seen) == len(stream)
    rest = steps_of(stream, ranks, workers, 30, start=10, rule=BUCKET)
    assert [members(step) for step in rest] == [members(step) for step in plain[10:]]


def test_buckets_need_less_padding(pattern: str) -> None:
    stream = stream_of(pattern)
    rule = Rule("text", 44, size=4)

    def share(batches: list[Batch]) -> float:
        cells = sum(batch["text"].numel() for batch in batches)
        return sum(int(batch["text.length"].sum()) for batch in batches) / cells

    # after the first epoch, which begins with windows of a bucket or two
    sorted_ = [batch for step in steps_of(stream, 1, 0, 11, start=8, rule=rule) for batch in step]
    with Loader(stream, {"words": Words()}, batch_size=16, seed=5, limit=176) as loader:
        assert share(sorted_) > 1.4 * share(list(loader))


@pytest.mark.parametrize("seed", range(4))
def test_best_fit_fills_log_normal_lengths(seed: int) -> None:
    lengths = np.clip(np.exp(np.random.default_rng(seed).normal(3.6, 0.7, 1024)), 1, 512).astype(int).tolist()
    made = best_fit(lengths, 512, seed)
    assert sorted(index for one in made for index in one) == list(range(1024))
    assert max(sum(lengths[index] for index in one) for one in made) <= 512
    assert sum(lengths) / (512 * len(made)) > 0.95
    assert made != best_fit(lengths, 512, seed + 1)
    assert best_fit([], 4, 0) == []
    with pytest.raises(ValueError, match="length 5"):
        best_fit([5], 4, 0)


def test_buckets_hold_like_lengths_and_serve_them_together() -> None:
    rng = np.random.default_rng(0)
    lanes = [rng.permutation(np.arange(64)).tolist() for _ in range(2)]
    keys = rng.integers(0, 1 << 62, 64).astype(np.uint64)
    first, second = (buckets(lengths, keys, 8, 0.0, 7) for lengths in lanes)
    for one, two in zip(first, second, strict=True):
        assert sorted(lanes[0][i] for i in one) == sorted(lanes[1][i] for i in two)


@pytest.mark.parametrize("n", [1, 7, 100, 1000, 9000])
@pytest.mark.parametrize("size", [1, 16, 300])
def test_windows_take_each_position_once_and_stay_in_their_epoch(n: int, size: int) -> None:
    lanes = lanes_for(n, 12, size, 100)
    assert 12 % lanes == 0
    windows = Windows(n, lanes, size)
    for epoch in range(3):
        found = []
        for lane in range(lanes):
            before = sum(windows.per_epoch(lane, one) for one in range(epoch))
            for window in range(windows.per_epoch(lane, epoch)):
                found += windows.positions(lane, before + window).tolist()
        assert sorted(found) == list(range(epoch * n, epoch * n + n))


def test_a_run_begins_with_small_windows_that_double() -> None:
    windows = Windows(4 * 5000, 4, 1024)  # the laws above, whose windows are of 20, begin with 4, 8 and 16
    sizes = [len(windows.positions(1, number)) for number in range(windows.per_epoch(1, 0))]
    assert sizes[:5] == [64, 128, 256, 512, 1010]
    assert sum(sizes) == 5000
    assert all(900 < len(windows.positions(1, len(sizes) + number)) < 1100 for number in range(windows.per_epoch(1)))
    assert windows.beginning(1).tolist() == np.concatenate([windows.positions(1, n) for n in range(5)])[:1024].tolist()


def test_the_first_step_does_not_read_a_whole_window(tmp_path: Path) -> None:
    """One small window of each of two lanes, and what is read ahead for the second ones."""
    read: list[str] = []

    class Counting(Words):
        def __call__(self, sample: Any, keys: Any) -> dict[str, Any]:
            read.append(sample.id.key)
            return super().__call__(sample, keys)

    stream = Stream([open_source(write_shards(tmp_path, [700]), "s")], seed=0, streams=2, shuffle=64)
    with Loader(stream, {"text": Counting()}, batch_size=4, rule=Rule("text", 320, length=LENGTH), limit=4) as loader:
        next(iter(loader))
    assert 2 * 20 <= len(read) <= 2 * 20 + 4 * 8
