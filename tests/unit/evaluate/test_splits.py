"""Few-label draws, tuning parts and held-out samples."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import DataError, UsageError
from mmask.evaluate.splits import Few, part
from mmask.train.features import held_out, pair
from mmask.types import Labelled


def labelled(sizes: list[int]) -> Labelled:
    labels = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)])
    ids = torch.arange(len(labels)) * 7919 + 13
    return Labelled(labels, len(sizes), ids, features=torch.arange(len(labels)).float()[:, None])


def counts(data: Labelled) -> list[int]:
    return torch.bincount(data.labels, minlength=data.classes).tolist()


def test_a_count_is_spread_over_the_classes_as_evenly_as_they_allow() -> None:
    data = labelled([3, 50, 100])
    drawn = Few.parse("33").draw(data, 0)
    assert len(drawn) == 33
    assert counts(drawn) == [3, 15, 15]


def test_a_share_keeps_the_proportions_and_a_class_is_never_lost() -> None:
    assert counts(Few.parse("10%").draw(labelled([2, 50, 100]), 0)) == [1, 5, 10]


def test_so_many_a_class() -> None:
    assert counts(Few.parse("4/class").draw(labelled([3, 50, 100]), 0)) == [3, 4, 4]


@pytest.mark.parametrize("kind", ["{}", "{}/class", "{}%"])
def test_larger_draws_of_one_seed_contain_smaller_ones(kind: str) -> None:
    data = labelled([20, 50, 30])
    drawn = [set(Few.parse(kind.format(n)).draw(data, 5).ids.tolist()) for n in (6, 12, 19)]
    assert drawn[0] < drawn[1] < drawn[2]


def test_a_draw_follows_ids_and_seeds_and_nothing_else() -> None:
    data = labelled([20, 50, 30])
    shuffled = data.take(torch.randperm(100, generator=torch.Generator().manual_seed(1)))
    first, again, other = (
        set(Few.parse("20").draw(*args).ids.tolist()) for args in ((data, 0), (shuffled, 0), (data, 1))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "200%", "5/klass", "many", ""])
def test_what_is_no_number_of_labels_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no number of labels"):
        Few.parse(text)


def test_more_labels_than_there_are_is_an_error() -> None:
    with pytest.raises(DataError, match="101 labels were asked for, the training data has 100"):
        Few.parse("101").draw(labelled([50, 50]), 0)


def test_a_tuning_part_takes_its_share_of_each_class_and_never_a_whole_class() -> None:
    data = labelled([1, 2, 10, 50])
    tune = part(data, 0.2, 0)
    assert counts(data.take(tune.nonzero()[:, 0])) == [0, 0, 2, 10]


def test_the_side_of_a_sample_does_not_depend_on_the_others() -> None:
    ids = torch.arange(1000) * 104729
    side = held_out(ids)
    assert torch.equal(held_out(ids[500:]), side[500:])
    assert 0.15 < side.double().mean() < 0.25


def test_classes_are_those_of_both_sets() -> None:
    def table(labels: list[int]) -> dict[str, torch.Tensor]:
        return {"labels": torch.tensor(labels), "ids": torch.arange(len(labels))}

    fit, test, classes = pair(table([30, 10, 30]), table([20]))
    assert classes.tolist() == [10, 20, 30]
    assert (fit.labels.tolist(), test.labels.tolist(), fit.classes) == ([2, 0, 2], [1], 3)
    with pytest.raises(DataError, match="nothing to tell apart"):
        pair(table([1, 1]), table([1]))
