"""Batches over ranks and workers: the same global batches everywhere, exact resume, substitutes, groups."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from mmask.data.collate import fingerprint
from mmask.data.loader import Loader
from mmask.data.source import open_source
from mmask.data.stream import SUBSTITUTE, Stream
from mmask.testing.shards import TinyDecoder, write_shards
from mmask.types import Batch

BATCH = 24
TOPOLOGIES = [(1, 1), (2, 0), (2, 3), (3, 2), (4, 1)]


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("shards"), [31, 17, 40])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("other"), [13], stem="o")


def stream_of(*urls: str, weights: tuple[float, ...] | None = None, streams: int = 16) -> Stream:
    sources = [open_source(url, f"s{number}") for number, url in enumerate(urls)]
    return Stream(sources, seed=5, streams=streams, shuffle=20, weights=weights)


def global_batches(
    stream: Stream,
    ranks: int,
    workers: int,
    steps: int,
    *,
    start: int = 0,
    group: int = 1,
    bad: tuple[str, ...] = (),
    ledger: Path | None = None,
) -> list[list[Batch]]:
    """Step -> the ranks' batches."""
    runs = []
    for rank in range(ranks):
        with Loader(
            stream,
            {"tiny": TinyDecoder(bad)},
            batch_size=BATCH,
            rank=rank,
            world=ranks,
            workers=workers,
            start=start,
            seed=5,
            group=group,
            limit=steps * BATCH,
            fault_budget=1.0,
            ledger=ledger,
        ) as loader:
            runs.append(list(loader))
    return [list(batches) for batches in zip(*runs, strict=True)]


def members(batches: list[Batch]) -> Counter[tuple[str, int]]:
    return Counter(
        (name, int(visit)) for batch in batches for name, visit in zip(batch.names, batch.visits, strict=True)
    )


def same(one: Batch, two: Batch) -> bool:
    assert one.fields.keys() == two.fields.keys()
    equal = all(
        torch.equal(one[name], two[name]) if isinstance(one[name], torch.Tensor) else one[name] == two[name]
        for name in one.fields
    )
    return (
        equal
        and fingerprint(one) == fingerprint(two)
        and one.names == two.names
        and ((one.position, one.epoch) == (two.position, two.epoch))
    )


@pytest.mark.parametrize(("ranks", "workers"), TOPOLOGIES)
@pytest.mark.parametrize("kind", ["single", "mixture"])
def test_step_k_holds_the_same_samples_on_every_topology(
    pattern: str, other: str, ranks: int, workers: int, kind: str
) -> None:
    stream = stream_of(pattern) if kind == "single" else stream_of(pattern, other, weights=(0.7, 0.3))
    plain = global_batches(stream, 1, 0, 10)
    spread = global_batches(stream, ranks, workers, 10)
    for one, many in zip(plain, spread, strict=True):
        assert members(one) == members(many)
        assert len({len(batch) for batch in many}) == 1


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_rank_gets_bit_identical_batches_from_any_number_of_workers(pattern: str, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    none = global_batches(stream, ranks, 0, 8, bad=("00003",))
    some = global_batches(stream, ranks, workers, 8, bad=("00003",))
    assert all(same(one, two) for a, b in zip(none, some, strict=True) for one, two in zip(a, b, strict=True))


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 2), (3, 1)])
def test_every_sample_comes_once_an_epoch_and_the_last_batch_runs_on(pattern: str, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    n = len(stream)  # 88: no multiple of the batch
    steps = -(-3 * n // BATCH)
    seen: Counter[tuple[str, int]] = Counter()
    for step in global_batches(stream, ranks, workers, steps):
        seen += members(step)
    assert set(seen.values()) == {1}
    for epoch in range(3):
        assert sum(visit == epoch for _, visit in seen) == n
    assert sum(seen.values()) == steps * BATCH


@pytest.mark.parametrize("step", [0, 1, 3, 7])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (4, 0)])
def test_resuming_at_a_position_equals_never_having_stopped(pattern: str, step: int, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    whole = global_batches(stream, 1, 0, 9)
    rest = global_batches(stream, ranks, workers, 9 - step, start=step * BATCH)
    for one, many in zip(whole[step:], rest, strict=True):
        assert members(one) == members(many)
        assert min(batch.position for batch in many) == one[0].position


def test_a_mixture_restarts_each_source_on_its_own(pattern: str, other: str) -> None:
    stream = stream_of(pattern, other, weights=(0.5, 0.5))
    seen: Counter[tuple[str, int]] = Counter()
    for step in global_batches(stream, 1, 0, 12):
        seen += members(step)
    small = [visit for name, visit in seen if name.startswith("s1:")]
    assert set(seen.values()) == {1}
    assert sorted(small) == [served // 13 for served in range(len(small))]  # its epochs, one after another
    assert abs(len(small) - 12 * BATCH / 2) <= BATCH


@pytest.mark.parametrize(("ranks", "workers"), TOPOLOGIES)
def test_substitutes_do_not_depend_on_the_topology(pattern: str, tmp_path: Path, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    bad = ("00003", "00011")
    plain = global_batches(stream, 1, 0, 8, bad=bad, ledger=tmp_path / "a.jsonl")
    spread = global_batches(stream, ranks, workers, 8, bad=bad, ledger=tmp_path / "b.jsonl")
    for one, many in zip(plain, spread, strict=True):
        assert members(one) == members(many)
        assert sum(map(len, many)) == BATCH
    lines = [sorted((tmp_path / name).read_text().splitlines()) for name in ("a.jsonl", "b.jsonl")]
    assert lines[0] == lines[1]
    assert len(lines[0]) >= 6
    visits = np.concatenate([batch.visits for batches in plain for batch in batches])
    assert (visits >= SUBSTITUTE).sum() == len({line for line in lines[0] if '"attempt": 0' in line})


def test_readable_samples_come_once_an_epoch_beside_unreadable_ones(pattern: str) -> None:
    stream = stream_of(pattern)
    seen: Counter[tuple[str, int]] = Counter()
    for step in global_batches(stream, 2, 2, 11, bad=("00003",)):
        seen += members(step)
    first = {name for name, visit in seen if visit == 0}
    assert len(first) == len(stream) - 3  # one bad key in each of three shards
    assert set(seen.values()) == {1}


@pytest.mark.parametrize(("ranks", "workers"), [(1, 3), (2, 2), (3, 0)])
def test_a_group_is_never_split(pattern: str, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    plain = [batch for batches in global_batches(stream, 1, 0, 6) for batch in batches]
    place = {
        (name, int(visit)): BATCH * step + row
        for step, batch in enumerate(plain)
        for row, (name, visit) in enumerate(zip(batch.names, batch.visits, strict=True))
    }
    for many in global_batches(stream, ranks, workers, 6, group=4):
        for batch in many:
            positions = [place[name, int(visit)] for name, visit in zip(batch.names, batch.visits, strict=True)]
            for first in range(0, len(positions), 4):
                assert positions[first] % 4 == 0
                assert positions[first : first + 4] == list(range(positions[first], positions[first] + 4))


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 2), (3, 1), (12, 0)])
def test_an_evaluation_reads_each_sample_once_in_stored_order(pattern: str, ranks: int, workers: int) -> None:
    stream = stream_of(pattern)
    expected = [f"s0:{sample.id.shard}:{sample.id.key}" for sample in stream.sources[0]]
    names: list[str] = []
    for rank in range(ranks):
        with Loader(
            stream,
            {"tiny": TinyDecoder()},
            batch_size=BATCH,
            rank=rank,
            world=ranks,
            workers=workers,
            evaluate=True,
        ) as loader:
            mine = [batch.names for batch in loader]
            again = [batch.names for batch in loader]
        assert mine == again
        assert all(list(one) == sorted(one, key=expected.index) for one in mine)
        names += [name for one in mine for name in one]
    assert sorted(names) == sorted(expected)
