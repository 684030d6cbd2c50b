"""Running statistics against the same of all values at once."""

from __future__ import annotations

import pytest
import torch

from mmask.data.statistics import Statistics
from mmask.errors import DataError


@pytest.mark.parametrize(("shapes", "axis"), [
    ([(5, 3), (9, 3), (1, 3)], -1), ([(3, 4, 6), (3, 8, 2)], 0), ([(7,), (3,)], None), ([(2, 5), (2, 6)], None),
])
def test_they_are_those_of_all_values_at_once(shapes, axis):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator) * 3 + 1e4 for shape in shapes]
    found = Statistics()
    for value in values:
        found.add(value)
    report = found.report()
    whole = torch.cat([value.reshape(-1) for value in values]).double()
    assert report["samples"] == len(shapes)
    assert report["count"] == len(whole)
    assert report["mean"] == pytest.approx(float(whole.mean()), rel=1e-12)
    assert report["std"] == pytest.approx(float(whole.std(correction=0)), rel=1e-9)
    assert (report["min"], report["max"]) == (float(whole.min()), float(whole.max()))
    assert ("each" in report) == (axis is not None)
    if axis is not None:
        each = torch.cat([value.movedim(axis, -1).reshape(-1, 3) for value in values]).double()
        assert report["axis"] == axis
        assert report["each"]["mean"] == pytest.approx(each.mean(0).tolist(), rel=1e-12)
        assert report["each"]["std"] == pytest.approx(each.std(0, correction=0).tolist(), rel=1e-9)


def test_whole_numbers_and_empty_samples():
    found = Statistics()
    found.add(torch.zeros(0, 4))
    found.add(torch.tensor([[0, 255]], dtype=torch.uint8))
    assert found.report()["mean"] == 127.5
    assert found.samples == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error(bad):
    with pytest.raises(DataError, match="NaN or infinite"):
        Statistics().add(torch.tensor([1.0, bad]))
