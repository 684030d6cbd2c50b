"""Effective rank and deviation."""

from __future__ import annotations

import numpy as np
import pytest

from mmask.observe.spectrum import spectrum


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_k_equal_directions_have_rank_k(rng) -> None:
    basis = np.linalg.qr(rng.normal(size=(64, 5)))[0]
    basis = np.linalg.qr(basis - basis.mean(0))[0]  # orthonormal columns without a mean
    assert spectrum(basis @ rng.normal(size=(5, 5)) @ np.eye(5)).rank <= 5 + 1e-9
    assert spectrum(basis @ np.linalg.qr(rng.normal(size=(5, 9)).T)[0].T).rank == pytest.approx(5)


def test_a_shift_and_a_scale_leave_the_rank(rng) -> None:
    x = rng.normal(size=(100, 16))
    assert spectrum(x * 7 + 1e3).rank == pytest.approx(spectrum(x).rank)


def test_samples_on_a_line_have_rank_one(rng) -> None:
    assert spectrum(rng.normal(size=(50, 1)) * np.ones((1, 16)) + 2).rank == pytest.approx(1)


def test_equal_features_are_collapsed(rng) -> None:
    found = spectrum(np.broadcast_to(rng.normal(size=16), (50, 16)))
    assert found.rank == 1 and found.std == pytest.approx(0, abs=1e-9)


def test_features_spread_over_the_sphere_have_deviation_one(rng) -> None:
    assert spectrum(rng.normal(size=(2000, 64))).std == pytest.approx(1, abs=0.02)


def test_features_that_are_not_finite_count_as_collapsed() -> None:
    assert spectrum(np.full((4, 3), np.nan)).std == 0
