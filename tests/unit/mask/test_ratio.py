"""A ratio that changes with the step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmask.errors import RecipeError
from mmask.keyed import Keys
from mmask.mask.block import BlockMasker
from mmask.mask.group import GroupMasker
from mmask.mask.random import RandomMasker
from mmask.mask.ratio import RatioCourse
from mmask.mask.run import RunMasker
from mmask.mask.span import SpanMasker
from mmask.mask.units import UnitMasker
from mmask.plugin.options import fit
from mmask.types import Layout

COURSE = RatioCourse(0.5, 0.25, 100)


def keys(step):
    return Keys(0, np.arange(6, dtype=np.uint64), np.zeros(6, np.int64), step)


@pytest.mark.parametrize(("kind", "quarter", "half"), [
    ("linear", 0.4375, 0.375), ("cosine", 0.5 - 0.25 * (1 - 0.5**0.5) / 2, 0.375),
    ("exponential", 0.5 ** 1.25, 0.5**1.5), ("jump", 0.5, 0.5),
])
def test_courses_go_from_start_to_end_and_stay_there(kind, quarter, half):
    course = RatioCourse(0.5, 0.25, 100, kind=kind, after=10)
    assert [course.at(step) for step in (0, 10, 110, 5000)] == [0.5, 0.5, 0.25, 0.25]
    assert course.at(35) == pytest.approx(quarter)
    assert course.at(60) == pytest.approx(half)


@pytest.mark.parametrize("masker", [
    RandomMasker(ratio=COURSE, rounding="round"), BlockMasker(ratio=COURSE, min_area=2), UnitMasker(ratio=COURSE),
    GroupMasker(ratio=COURSE, group="word"), RunMasker(ratio=COURSE, group=None, longest=3),
    SpanMasker(ratio=COURSE, length=2, overlap="apart"),
], ids=lambda masker: type(masker).__name__)
def test_every_masker_follows_a_course_by_the_step_of_its_keys(masker):
    import torch

    words = torch.arange(256).expand(6, -1)
    grid = None if isinstance(masker, SpanMasker) else (16, 16)
    layout = Layout(6, 256, grid, groups={"word": words})
    got = {step: masker.plan(layout, keys(step)) for step in (0, 50, 100, 400)}
    assert got[0].ratio() == 0.5
    assert got[50].ratio() == 0.375
    assert got[100].ratio() == got[400].ratio() == 0.25
    again = masker.plan(layout, replace(keys(0), step=50))
    assert torch.equal(again.hidden, got[50].hidden)


def test_recipes_write_a_course_as_a_table():
    given = {"ratio": {"start": 0.3, "end": 0.15, "steps": 1000, "kind": "cosine"}}
    made = RandomMasker(**fit(RandomMasker, given, what="masker", where="mask"))
    assert made.ratio == RatioCourse(0.3, 0.15, 1000, kind="cosine")
    with pytest.raises(RecipeError, match=r"mask\.ratio"):
        fit(RandomMasker, {"ratio": {"start": 0.3, "stop": 0.15, "steps": 10}}, what="masker", where="mask")


@pytest.mark.parametrize(("wrong", "said"), [
    ({"start": 1.2, "end": 0.1, "steps": 5}, "between 0 and 1"), ({"start": 0.2, "end": 0.1, "steps": 0}, "at least 1"),
    ({"start": 0.2, "end": 0.0, "steps": 5, "kind": "exponential"}, "above 0"),
    ({"start": 0.2, "end": 0.1, "steps": 5, "kind": "square"}, "linear, cosine"),
])
def test_courses_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(RecipeError, match=said):
        RatioCourse(**wrong)
