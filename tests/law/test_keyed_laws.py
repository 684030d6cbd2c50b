"""Laws of stateless randomness."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from math import factorial, sqrt

import numpy as np
import pytest
import torch

from mmask.keyed import Keys, fold, mix, permutation, seeded_scope, single, stream


def keys(size, **more):
    return Keys(0, np.arange(size, dtype=np.uint64), np.zeros(size, np.int64), **more)


def test_mixing_is_a_bijection_as_far_as_a_million_words_can_tell():
    assert len(np.unique(mix(np.arange(1 << 20, dtype=np.uint64)))) == 1 << 20


def test_uniform_numbers_are_uniform_and_uncorrelated_between_neighbours():
    u = keys(4000).uniform("test", 50)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    counts = np.histogram(u, 100, (0, 1))[0]
    expected = u.size / 100
    chi = ((counts - expected) ** 2 / expected).sum()
    assert 50 < chi < 160  # 99 degrees of freedom: mean 99, deviation 14
    for a, b in ((u[:, :-1], u[:, 1:]), (u[:-1], u[1:])):  # along draws, along samples
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / sqrt(a.size)


def test_every_input_bit_moves_about_half_of_the_output_bits():
    base = stream(np.arange(500, dtype=np.uint64), 1)[:, 0]
    for bit in range(64):
        other = stream(np.arange(500, dtype=np.uint64) ^ np.uint64(1 << bit), 1)[:, 0]
        flipped = np.unpackbits((base ^ other).view(np.uint8)).mean()
        assert flipped == pytest.approx(0.5, abs=0.02)


def test_permutations_are_unbiased():
    size = 24_000
    seen = Counter(map(tuple, keys(size).order("test", 4).tolist()))
    assert len(seen) == factorial(4)
    chi = sum((count - 1000) ** 2 / 1000 for count in seen.values())
    assert chi < 23 + 5 * sqrt(2 * 23)


def test_every_place_of_a_longer_order_is_equally_likely():
    first = keys(20_000).order("test", 50)[:, :10]
    counts = np.bincount(first.ravel(), minlength=50)
    assert abs(counts - 4000).max() < 5 * sqrt(4000 * 0.8)


def test_an_order_among_some_is_that_of_these_alone_at_any_length():
    rows = keys(30).rows("test")
    short = permutation(rows, 10)
    long = permutation(rows, 5000, np.broadcast_to(np.arange(5000) < 10, (30, 5000)))
    assert np.array_equal(long[:, :10], short)
    assert np.array_equal(np.sort(long, 1), np.broadcast_to(np.arange(5000), (30, 5000)))


def test_a_longer_draw_begins_with_the_shorter_one():
    assert np.array_equal(keys(5).bits("test", 40)[:, :7], keys(5).bits("test", 7))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 4), (10, 1000)])
def test_integers_fill_their_range(low, high):
    drawn = keys(2000).integers("test", 20, low, high)
    assert drawn.min() == low
    assert drawn.max() == high - 1


def test_each_part_of_a_key_matters():
    base = keys(8)
    others = [
        Keys(1, base.ids, base.visits), Keys(0, base.ids + np.uint64(1), base.visits),
        Keys(0, base.ids, base.visits + 1), base.of_view("v"),
    ]
    for other in others:
        assert not np.intersect1d(base.rows("p"), other.rows("p")).size or other is others[1]
    assert not np.intersect1d(base.rows("p"), base.rows("q")).size
    assert np.array_equal(base.rows("p"), keys(8, step=5).rows("p"))
    assert base.batch("p") != keys(8, step=5).batch("p")
    assert fold("a", "b") != fold("b", "a") != fold("ab")
    assert single(0, 3, 0).rows("p")[0] == base.rows("p")[3]


def test_draws_are_equal_in_another_process():
    program = (
        "from mmask.keyed import fold, single\n"
        "print(fold(1, 'x'), single(0, 3, 0).bits('p', 2).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.split(maxsplit=1)[0] == str(fold(1, "x"))
    assert out.split(maxsplit=1)[1].strip() == str(single(0, 3, 0).bits("p", 2).tolist())


def test_a_seeded_scope_decides_all_three_generators_and_restores_them():
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()

    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    with seeded_scope(42):
        first = draws()
    def fails():
        with seeded_scope(42):
            assert draws() == first
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    with seeded_scope(43):
        assert draws() != first
    after = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])
