"""A subset of a stream is read as a stream."""

from __future__ import annotations

import numpy as np
import pytest

from mmask.data.loader import Loader
from mmask.data.source import open_source
from mmask.data.stream import Stream
from mmask.evaluate.subset import Subset, spread
from mmask.testing.shards import TinyDecoder, write_shards


@pytest.fixture
def stream(tmp_path):
    return Stream([open_source(write_shards(tmp_path, [7, 8, 5]), "s")], seed=0)


def names(subset, **options):
    with Loader(subset, {"x": TinyDecoder()}, **options) as loader:
        return [name for batch in loader for name in batch.names]


def test_stored_order_is_that_of_the_rows(stream) -> None:
    rows = np.array([12, 3, 19, 0])
    told = [str(stream.sample(one).id) for one in stream.locate_stored(rows)]
    assert names(Subset(stream, rows), batch_size=3, evaluate=True) == told


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_is_another_order_of_all_rows_and_of_no_other(stream, workers) -> None:
    rows = np.array([2, 3, 5, 7, 11, 13, 17])
    found = names(Subset(stream, rows, seed=1), batch_size=4, limit=21, workers=workers)
    wanted = sorted(names(Subset(stream, rows), batch_size=4, evaluate=True))
    epochs = [found[i : i + 7] for i in (0, 7, 14)]
    assert [sorted(epoch) for epoch in epochs] == [wanted] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_follows_the_seed_and_not_the_batch(stream) -> None:
    rows = np.arange(20)
    first = names(Subset(stream, rows, seed=1), batch_size=4, limit=40)
    assert names(Subset(stream, rows, seed=1), batch_size=8, limit=40) == first
    assert names(Subset(stream, rows, seed=2), batch_size=8, limit=40) != first


def test_a_visit_is_an_epoch_so_that_augmentation_moves(stream) -> None:
    with Loader(Subset(stream, np.array([4, 5])), {"x": TinyDecoder()}, batch_size=2, limit=4) as loader:
        first, second = [dict(zip(batch.names, batch.augment["shift"][:, 0], strict=True)) for batch in loader]
    assert first.keys() == second.keys() and all(first[name] != second[name] for name in first)


def test_samples_are_spread_evenly() -> None:
    assert spread(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert spread(3, 9).tolist() == spread(3, None).tolist() == [0, 1, 2]
