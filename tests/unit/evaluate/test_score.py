"""Numbers of an evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmask.errors import DataError
from mmask.evaluate.score import Result, Spread, measure
from mmask.evaluate.show import write_results
from mmask.types import Labelled, Verdict


def case(classes: int = 3) -> Labelled:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    return Labelled(labels, classes, torch.arange(6) + 100)


def test_accuracies_of_a_case_done_by_hand() -> None:
    test = case()
    said = torch.tensor([0, 0, 1, 1, 0, 2])
    one = measure(Verdict(torch.eye(3)[said]), test, test, 0)
    assert one.numbers["top1"] == pytest.approx(4 / 6)
    assert one.numbers["balanced"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert one.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert "top5" not in one.numbers


def test_top_five_is_told_when_there_are_more_classes_even_if_the_test_set_lacks_some() -> None:
    test = case(8)
    scores = torch.zeros(6, 8)
    scores[:, 3:] = 1.0  # five other classes before the right one
    scores[0, 0] = 2.0
    assert measure(Verdict(scores), test, test, 0).numbers["top5"] == pytest.approx(1 / 6)


def test_scores_in_another_order_find_their_samples() -> None:
    test = case()
    order = torch.tensor([5, 3, 0, 1])
    verdict = Verdict(torch.eye(3)[test.labels[order]], ids=test.ids[order])
    assert measure(verdict, test, test, 0).numbers["top1"] == 1


@pytest.mark.parametrize("scores", [torch.zeros(6, 2), torch.zeros(5, 3), torch.full((6, 3), float("nan"))])
def test_scores_that_do_not_fit_are_an_error(scores: torch.Tensor) -> None:
    with pytest.raises(DataError, match="the evaluator gave scores"):
        measure(Verdict(scores), case(), case(), 0)


def test_the_interval_is_students() -> None:
    found = Spread.of([0.5, 0.6, 0.7])
    assert found.mean == pytest.approx(0.6)
    assert found.half == pytest.approx(4.302652729911275 * 0.1 / np.sqrt(3))  # t of 0.975 with 2 degrees
    assert Spread.of([0.5]).half is None


def test_files_hold_the_numbers_and_a_picture(tmp_path) -> None:
    test = case()
    said = (test.labels, test.labels * 0)
    tried = [measure(Verdict(torch.eye(3)[one]), test, test, seed) for seed, one in enumerate(said)]
    result = Result("knn", "a", "runs/a", 5, "trained", "encoder", "auto", {}, "all", {"k": 3}, [10, 20, 30], tried)
    files = write_results(tmp_path / "eval" / "x.json", [result])
    told = json.loads(files[0].read_text())["results"][0]
    assert told["summary"]["top1"]["mean"] == pytest.approx(0.75)
    assert [row["top1"] for row in told["seeds"]] == [1.0, 0.5]
    assert np.array(told["confusion"]).sum() == 12 and told["classes"] == [10, 20, 30]
    assert Image.open(files[1]).size[0] > 100
