"""Schedules are pure functions of the step, with the paper's arithmetic."""

from __future__ import annotations

import math

import pytest

from mmask.train.schedule import Course, in_steps


def test_warm_up_is_linear_from_its_start_and_reaches_the_peak() -> None:
    course = Course(100, 10, 1.0, start=0.2)
    assert course.lr(0) == pytest.approx(0.2)
    assert course.lr(5) == pytest.approx(0.6)
    assert course.lr(10) == pytest.approx(1.0)


def test_cosine_is_half_a_period_from_peak_to_floor() -> None:
    course = Course(110, 10, 1.0, floor=0.1)
    assert course.lr(60) == pytest.approx(0.55)
    assert course.lr(110) == pytest.approx(0.1)
    assert course.lr(35) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_linear_falls_evenly_and_constant_stays() -> None:
    line, flat = Course(20, 0, 1.0, kind="linear"), Course(20, 0, 1.0, kind="constant")
    assert [line.lr(s) for s in (0, 5, 10, 20)] == pytest.approx([1, 0.75, 0.5, 0])
    assert {flat.lr(s) for s in range(21)} == {1.0}


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_a_run_that_only_warms_up_never_exceeds_its_peak(kind: str) -> None:
    course = Course(5, 5, 2.0, kind=kind)
    assert max(course.lr(s) for s in range(6)) <= 2.0


def test_epochs_become_steps_by_counting_begun_steps() -> None:
    assert in_steps(1, 100, 10) == 10
    assert in_steps(1, 101, 10) == 11
    assert in_steps(800, 1_281_167, 4096) == math.ceil(800 * 1_281_167 / 4096)
    assert in_steps(0.1 + 0.2, 100, 10) == 3  # 0.30000000000000004 is three tenths
