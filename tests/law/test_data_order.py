"""The canonical order: exactly once an epoch and mixtures in proportion, up to 1e7 samples."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from mmask.data.mixture import Mixture
from mmask.data.order import Order, permute
from mmask.keyed import fold

SHAPES = [[1], [5], [3, 7, 2], [0, 4, 0, 9], [100] * 13, [1000, 1, 333]]


@pytest.mark.parametrize("counts", SHAPES, ids=str)
@pytest.mark.parametrize("streams", [1, 3, 64])
@pytest.mark.parametrize("shuffle", [0, 1, 8, 4096])
def test_every_sample_comes_exactly_once_in_every_epoch(counts: list[int], streams: int, shuffle: int) -> None:
    order = Order(np.array(counts), 3, "s", streams, shuffle)
    n = len(order)
    epoch, stored = order.at(np.arange(3 * n))
    assert (epoch == np.repeat(np.arange(3), n)).all()
    for one in range(3):
        assert sorted(stored[epoch == one]) == list(range(n))


def test_the_order_of_a_position_does_not_depend_on_what_else_is_asked() -> None:
    order = Order(np.array([50, 61, 7]), 1, "s", 8, 16)
    together = order.at(np.arange(400))[1]
    alone = [int(order.at(np.array([p]))[1][0]) for p in range(400)]
    assert together.tolist() == alone


def test_epochs_seeds_and_sources_are_ordered_differently() -> None:
    counts = np.full(10, 100)
    first = Order(counts, 0, "a", 8, 64).stored(0, np.arange(1000))
    others = [
        Order(counts, 0, "a", 8, 64).stored(1, np.arange(1000)),
        Order(counts, 1, "a", 8, 64).stored(0, np.arange(1000)),
        Order(counts, 0, "b", 8, 64).stored(0, np.arange(1000)),
    ]
    for other in others:
        assert (first == other).mean() < 0.02


@pytest.mark.parametrize("n", [2, 3, 5, 9, 40])
def test_small_permutations_are_uniform(n: int) -> None:
    keys = np.array([fold(k, "u") for k in range(6000)], np.uint64)
    table = np.stack([np.bincount(permute(np.full(6000, i), n, keys), minlength=n) for i in range(n)])
    expected = 6000 / n
    chi2 = ((table - expected) ** 2 / expected).sum()
    freedom = (n - 1) ** 2
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom) + 3


def test_a_set_smaller_than_a_block_is_shuffled_across_its_whole_length() -> None:
    n = 1000
    stored = Order(np.array([n]), 0, "s", 64, 4096).stored(0, np.arange(n))
    assert abs(np.corrcoef(stored, np.arange(n))[0, 1]) < 0.15
    assert np.abs(stored[:64] - stored[1:65]).mean() > n / 6  # a random pair is n/3 apart


def test_streams_read_near_one_place() -> None:
    order = Order(np.full(100, 1000), 0, "s", 64, 500)
    lane = np.arange(0, 64 * 1500, 64)[:1500]  # 1,500 entries of stream 0
    stored = order.stored(0, lane)
    touched = {int(one) // 500 for one in stored}
    assert len(touched) <= 2 * (1500 // 500 + 2)  # blocks are rotated, so each spans two


def test_readers_own_streams_when_they_divide_them() -> None:
    ranks, workers, streams = 2, 4, 64
    position = np.arange(100_000)
    reader = position % ranks * workers + position // ranks % workers
    for stream in range(streams):
        assert len(np.unique(reader[position % streams == stream])) == 1


@pytest.mark.parametrize("weights", [(1, 1), (0.7, 0.2, 0.1), (5, 1, 1, 1), (1e-3, 1)], ids=str)
def test_mixtures_keep_their_proportions_and_skip_nothing(weights: tuple[float, ...]) -> None:
    mixture = Mixture(weights, 7)
    n = 64 * 1024
    source, count = mixture.assign(np.arange(n))
    share = np.array(weights) / sum(weights)
    assert np.abs(np.bincount(source, minlength=len(weights)) - share * n).max() <= len(weights)
    for window in (1024, 10 * 1024):
        seen = np.bincount(source[:window], minlength=len(weights))
        assert np.abs(seen - share * window).max() <= len(weights)
    for one in range(len(weights)):
        mine = np.sort(count[source == one])
        assert (mine == np.arange(len(mine))).all()


def test_each_rank_gets_the_mixture_and_not_one_source() -> None:
    source, _ = Mixture((1, 1), 0).assign(np.arange(32 * 1024))
    for rank in range(2):
        assert abs(source[rank::2].mean() - 0.5) < 0.02


def test_ten_million_samples_cost_milliseconds_and_no_memory() -> None:
    order = Order(np.full(10_000, 1000), 0, "s", 64, 4096)
    order.stored(4, np.arange(256))  # tables of the epoch
    tracemalloc.start()
    begun = time.perf_counter()
    for step in range(20):
        order.at(4 * 10**7 + np.arange(step * 256, step * 256 + 256))
    seconds = (time.perf_counter() - begun) / 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.05
    assert peak < 4 << 20
    begun = time.perf_counter()
    order.at(np.array([123 * 10**7 + 5]))  # a far epoch is as near as the first
    assert time.perf_counter() - begun < 0.1


def test_a_million_samples_come_exactly_once() -> None:
    stored = Order(np.full(1000, 1000), 0, "s", 60, 4096).stored(0, np.arange(10**6))
    assert (np.bincount(stored) == 1).all()


def test_no_two_of_ten_million_positions_hold_one_sample() -> None:
    order = Order(np.full(10_000, 1000), 0, "s", 60, 4096)
    some = np.unique(np.random.default_rng(0).integers(0, 10**7, 400_000))
    stored = order.stored(3, some)
    assert len(np.unique(stored)) == len(some)
    assert 0 <= stored.min() <= stored.max() < 10**7
