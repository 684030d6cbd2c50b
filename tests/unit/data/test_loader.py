"""Worker processes, faults and the ledger, from the outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmask.data.faults import Fault, Ledger, read_ledger
from mmask.data.loader import Loader
from mmask.data.source import open_source
from mmask.data.store import LocalStore
from mmask.data.stream import SUBSTITUTE, Stream, open_stream
from mmask.data.tar import scan
from mmask.errors import DataError, FaultBudgetError, SampleError, UsageError
from mmask.keyed import Keys
from mmask.recipe.schema import DataSection, Source
from mmask.testing.shards import TinyDecoder, write_shards
from mmask.types import Sample


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    pattern = write_shards(tmp_path_factory.mktemp("shards"), [40, 24])
    return Stream([open_source(pattern, "s")], seed=2, streams=8, shuffle=16)


class Spoilt(TinyDecoder):
    """Fails in one of several ways on one sample."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        fields = dict(super().__call__(sample, keys))
        if sample.id.key == "00005":
            if self.how == "bug":
                raise ZeroDivisionError("division by zero")
            if self.how == "exit":
                os._exit(3)
            if self.how == "memory":
                raise MemoryError
            if self.how == "fields":
                fields["more"] = 1
            if self.how == "all":
                raise SampleError("no")
        if self.how == "all":
            raise SampleError("none is good")
        return fields


def run(stream: Stream, decoder: Any, **options: Any) -> list[Any]:
    with Loader(stream, {"tiny": decoder}, **{"batch_size": 8, "limit": 160, "seed": 2, **options}) as loader:
        return list(loader)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("how", "say"),
    [
        ("bug", r"decoder 'tiny' failed on s:t-00.\.tar:00005: ZeroDivisionError"),
        ("memory", "MemoryError"),
        ("fields", "field 'more' is in some samples"),
        ("all", "15 substitutes are unusable"),
    ],
)
def test_an_error_in_decoding_comes_back_with_its_place(stream: Stream, workers: int, how: str, say: str) -> None:
    with pytest.raises(DataError, match=say):
        run(stream, Spoilt(how), workers=workers)


def test_a_worker_that_exits_is_an_error_and_not_a_hang(stream: Stream) -> None:
    with pytest.raises(DataError, match=r"loader worker \d \(process \d+\) died: exit code 3"):
        run(stream, Spoilt("exit"), workers=2)


def test_a_killed_worker_is_an_error_and_not_a_hang(stream: Stream) -> None:
    loader = Loader(stream, {"tiny": TinyDecoder()}, batch_size=8, workers=2)
    batches = iter(loader)
    next(batches)
    os.kill(loader._running[1].process.pid or 0, signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"loader worker 1 .* died: killed by SIGKILL"):
        for _ in batches:
            pass
    assert time.monotonic() - begun < 10
    assert not loader._running


def test_workers_survive_the_signals_that_a_scheduler_sends_to_all(stream: Stream) -> None:
    with Loader(stream, {"tiny": TinyDecoder()}, batch_size=8, workers=2) as loader:
        batches = iter(loader)
        next(batches)
        for worker in loader._running:
            os.kill(worker.process.pid or 0, signal.SIGTERM)
            os.kill(worker.process.pid or 0, signal.SIGINT)
        assert len([next(batches) for _ in range(20)]) == 20
        batches.close()


SCRIPT = """
import sys, time
from mmask.data.loader import Loader
from mmask.data.source import open_source
from mmask.data.store import LocalStore
from mmask.data.stream import Stream
from mmask.testing.shards import TinyDecoder
stream = Stream([open_source(sys.argv[1], "s")], seed=0)
loader = Loader(stream, {"tiny": TinyDecoder()}, batch_size=8, workers=2)
batches = iter(loader)
next(batches)
print(*(worker.process.pid for worker in loader._running), flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
if sys.argv[2] == "raise":
    raise KeyboardInterrupt
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("end", ["leave", "raise", "wait"])
def test_no_worker_outlives_its_training_process(tmp_path: Path, end: str) -> None:
    pattern = write_shards(tmp_path, [16])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, pattern, end],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    if end == "wait":
        process.kill()
    begun = time.monotonic()
    process.wait(20)
    while any(map(_alive, workers)) and time.monotonic() - begun < 15:
        time.sleep(0.05)
    assert not any(map(_alive, workers))


def test_workers_give_back_their_descriptors(stream: Stream) -> None:
    run(stream, TinyDecoder(), workers=2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(stream, TinyDecoder(), workers=2)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


class Grown:
    """Makes samples of growing size, to outgrow the shared memory."""

    ragged = frozenset({"signal"})

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        row = int(sample.id.key)
        return {
            "signal": torch.full((1 + row * row * 100,), row, dtype=torch.float64),
            "picture": torch.full((3, 2 + row % 3, 2 + row % 2), row, dtype=torch.uint8),
            "half": torch.full((4,), row, dtype=torch.bfloat16),
            "flag": row > 3,
            "empty": np.zeros((0, 2)),
            "words": [sample.id.key, row],
        }


@pytest.mark.parametrize("evaluate", [False, True])
def test_all_kinds_of_values_cross_from_workers_unchanged(stream: Stream, evaluate: bool) -> None:
    one = run(stream, Grown(), workers=0, evaluate=evaluate, limit=64)
    two = run(stream, Grown(), workers=3, evaluate=evaluate, limit=64)
    for a, b in zip(one, two, strict=True):
        assert list(a.fields) == list(b.fields)
        for name in ("signal", "signal.length", "half", "flag", "empty"):
            assert torch.equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype
        assert a["words"] == b["words"]
        assert all(torch.equal(x, y) for x, y in zip(a["picture"], b["picture"], strict=True))
    kept = two[0]["picture"][0].clone(), two[0]["signal"].clone()
    assert torch.equal(two[0]["picture"][0], kept[0])  # batches own their memory after the workers are gone
    assert torch.equal(two[0]["signal"], kept[1])


def test_padding_says_how_long_each_row_is(stream: Stream) -> None:
    batch = run(stream, Grown(), evaluate=True)[0]
    rows = [int(name.rpartition(":")[2]) for name in batch.names]
    assert batch["signal.length"].tolist() == [1 + row * row * 100 for row in rows]
    for row, length in enumerate(batch["signal.length"].tolist()):
        assert (batch["signal"][row, :length] == rows[row]).all()
        assert (batch["signal"][row, length:] == 0).all()


def test_substitutes_are_visits_of_their_own_and_the_ledger_says_why(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "run" / "ledger.jsonl"
    batches = run(stream, TinyDecoder(["00005"]), workers=2, fault_budget=0.5, ledger=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["key"] for line in lines} == {"00005"}
    assert all("on the list of bad samples" in line["reason"] and line["offset"] > 0 for line in lines)
    assert {line["shard"] for line in lines} == {"t-000.tar", "t-001.tar"}
    visits = np.concatenate([batch.visits for batch in batches])
    names = [name for batch in batches for name in batch.names]
    assert (visits >= SUBSTITUTE).sum() == len({line["position"] for line in lines})
    pairs = list(zip(names, visits.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


def test_a_resumed_run_writes_no_fault_twice(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    run(stream, TinyDecoder(["00005"]), fault_budget=0.5, ledger=path)
    first = path.read_text()
    run(stream, TinyDecoder(["00005"]), fault_budget=0.5, ledger=path, start=80, limit=80)
    assert path.read_text() == first
    path.write_text(first + '{"source": "s", "sha')
    assert len(read_ledger(path)) == len(first.splitlines())


@pytest.mark.parametrize("workers", [0, 2])
def test_above_the_budget_the_run_stops_and_names_the_ledger(stream: Stream, tmp_path: Path, workers: int) -> None:
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(FaultBudgetError, match=r"ledger\.jsonl"):
        run(stream, TinyDecoder(["00005"]), fault_budget=0.01, ledger=path, workers=workers)
    assert path.exists()


def test_one_early_fault_does_not_stop_a_long_run() -> None:
    ledger = Ledger(None, 0.01, short=1_000_000)
    ledger.add([Fault("s", "t", "k", 0, "bad", 0, 3)], served=8)
    more = [Fault("s", "t", "k", 0, "bad", 0, position) for position in range(10, 20)]
    with pytest.raises(FaultBudgetError, match="11 samples of 100"):
        ledger.add(more, served=100)


def test_a_torn_shard_is_in_the_ledger_and_its_whole_samples_are_read(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [9, 9])
    path = tmp_path / "t-001.tar"
    inside = scan(LocalStore(str(path)), "t").members[13].offset - 100  # the header of the fifth sample's second part
    path.write_bytes(path.read_bytes()[:inside])
    torn = Stream([open_source(pattern, "s")], seed=0)
    assert len(torn) == 9 + 5
    ledger = tmp_path / "ledger.jsonl"
    run(torn, TinyDecoder(), limit=16, ledger=ledger, fault_budget=0.5)
    run(torn, TinyDecoder(), limit=16, ledger=ledger, fault_budget=0.5)
    (line,) = [json.loads(one) for one in ledger.read_text().splitlines() if '"torn' in one]
    assert (line["shard"], line["position"]) == ("t-001.tar", -1)


def test_an_evaluation_leaves_unreadable_samples_out(stream: Stream, tmp_path: Path) -> None:
    for workers in (0, 2):
        batches = run(
            stream,
            TinyDecoder(["00005"]),
            evaluate=True,
            limit=None,
            fault_budget=0.1,
            workers=workers,
            ledger=tmp_path / "ledger.jsonl",
        )
        names = [name for batch in batches for name in batch.names]
        assert len(names) == 64 - 2
        assert not any(name.endswith("00005") for name in names)
    assert len(read_ledger(tmp_path / "ledger.jsonl")) == 2


def test_a_limited_evaluation_takes_its_samples_from_all_over(stream: Stream) -> None:
    batches = run(stream, TinyDecoder(), evaluate=True, limit=16)
    names = [name for batch in batches for name in batch.names]
    assert len(names) == 16
    assert names == [f"s:t-{p // 40:03d}.tar:{p % 40 if p < 40 else p - 40:05d}" for p in range(0, 64, 4)]


@pytest.mark.parametrize(
    ("options", "say"),
    [
        ({"batch_size": 10, "world": 3}, "cannot be dealt to 3 ranks"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"group": 3}, "groups of 3"),
        ({"start": 3, "group": 2}, "splits a group"),
        ({"workers": -1}, "too small"),
    ],
)
def test_topologies_that_cannot_be_are_refused(stream: Stream, options: dict[str, int], say: str) -> None:
    with pytest.raises(UsageError, match=say):
        Loader(stream, {}, **{"batch_size": 8, **options})  # type: ignore[arg-type]


def test_waiting_is_measured_and_reading_it_starts_anew(stream: Stream) -> None:
    class Slow(TinyDecoder):
        def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
            time.sleep(0.005)
            return super().__call__(sample, keys)

    with Loader(stream, {"tiny": Slow()}, batch_size=8) as loader:
        batches = iter(loader)
        next(batches)
        assert 0.03 < loader.wait < 2
        assert loader.wait == 0.0
        batches.close()


def test_two_decoders_may_not_make_one_field(stream: Stream) -> None:
    with (
        pytest.raises(DataError, match="another decoder made already"),
        Loader(stream, {"a": TinyDecoder(), "b": TinyDecoder()}, batch_size=8) as loader,
    ):
        next(iter(loader))


def test_a_recipes_data_section_opens_as_a_stream(tmp_path: Path) -> None:
    one, two = write_shards(tmp_path / "a", [9]), write_shards(tmp_path / "b", [5])
    data = DataSection(
        train=[
            Source(url=one, filters=["width > 102"], columns=["width=json.width"]),
            Source(url=two, name="b", weight=3),
        ]
    )
    opened = open_stream(data, seed=0)
    assert len(opened) == 6 + 5
    assert [source.name for source in opened.sources] == ["s0", "b"]
    with pytest.raises(DataError, match="no held-out data"):
        open_stream(data, seed=0, val=True)
    with pytest.raises(DataError, match="different names"):
        open_stream(DataSection(train=[Source(url=one, name="x"), Source(url=two, name="x")]), seed=0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fixed", [True, False])
def test_lengths_that_a_decoder_gives_are_kept(stream: Stream, workers: int, fixed: bool) -> None:
    """A decoder that fills a value up itself knows better how long it was."""

    class Filled:
        def __call__(self, sample: Any, keys: Any) -> dict[str, Any]:
            size = 3 + len(sample.parts["bin"])
            return {"x": torch.ones(20 if fixed else size + 2), "x.length": size}

    with Loader(stream, {"x": Filled()}, batch_size=8, workers=workers, limit=16) as loader:
        for batch in loader:
            assert batch["x.length"].dtype == torch.int64
            longest = int(batch["x.length"].max())
            assert batch["x"].shape[1] == (20 if fixed else longest + 2)
            assert 4 <= int(batch["x.length"].min()) < longest < 20
