"""What `data check` is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmask.data.check import check_source, read_amplification, runs
from mmask.data.share import Share
from mmask.data.source import open_source
from mmask.testing.shards import write_shards


@pytest.mark.parametrize("streams", [1, 12, 60, 64])
@pytest.mark.parametrize(
    ("ranks", "workers", "group"), [(1, 1, 1), (2, 4, 1), (3, 2, 1), (4, 3, 2), (5, 1, 4), (2, 0, 1)]
)
def test_read_amplification_is_what_the_loaders_deal_out(streams: int, ranks: int, workers: int, group: int) -> None:
    readers: dict[int, set[tuple[int, int]]] = {stream: set() for stream in range(streams)}
    batch = ranks * group * 120
    for rank in range(ranks):
        for worker in range(max(1, workers)):
            share = Share(batch, rank, ranks, group, 0, workers=max(1, workers), worker=worker)
            for step in range(4):
                for stream in np.unique(share(step) % streams).tolist():
                    readers[stream].add((rank, worker))
    assert {len(found) for found in readers.values()} == {read_amplification(ranks, workers, streams, group)}


def test_runs_of_sorted_and_of_shuffled_labels() -> None:
    labels = np.repeat(np.arange(10), 100)
    assert runs(labels).clumped
    assert runs(labels).longest == 100
    shuffled = np.random.default_rng(0).permutation(labels)
    found = runs(shuffled)
    assert not found.clumped
    assert found.mean == pytest.approx(found.expected, rel=0.05)
    assert not runs(np.arange(50)).clumped
    assert not runs(np.zeros(50)).clumped
    assert runs(np.array([])).longest == 0


def test_a_source_is_checked_from_its_indices(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [60, 60, 2], lambda shard, row: {"x": b"1", "cls": row // 20})
    whole = tmp_path / "t-000.tar"
    whole.write_bytes(whole.read_bytes()[: 60 * 2048 + 100])
    found = check_source(open_source(pattern, "s"), ranks=3, workers=2, streams=64)
    assert found.samples == sum(shard.samples for shard in found.shards)
    assert 0 < found.shards[0].samples < 60
    assert found.harmful
    assert "torn" in {one.kind for one in found.shards[0].findings}
    assert not found.shards[1].findings
    assert set(found.sorted_by) == {"cls"}
    assert found.amplification == 3
    assert check_source(open_source(str(tmp_path / "t-002.tar")), ranks=2, workers=4).idle == 6
