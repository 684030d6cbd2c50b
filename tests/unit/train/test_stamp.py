"""Stamps see every decision and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mmask.testing.toy import toy_batch, toy_model
from mmask.train.stamp import StampFile, read_stamps, stamp

MODEL = toy_model(seed=1)


def test_a_stamp_is_the_sum_of_the_stamps_of_its_parts() -> None:
    plans = MODEL.draw(toy_batch(range(8)))
    cut = [stamp(plans.rows(0, 3)), stamp(plans.rows(3, 4)), stamp(plans.rows(4, 8))]
    assert sum(cut) % 2**64 == stamp(plans)


def test_another_sample_visit_plan_or_augmentation_is_another_stamp() -> None:
    batch = toy_batch(range(8))
    marks = {stamp(MODEL.draw(batch)), stamp(MODEL.draw(toy_batch(range(1, 9)))), stamp(toy_model(seed=2).draw(batch))}
    marks.add(stamp(MODEL.draw(replace(batch, visits=batch.visits + 1))))
    box = np.zeros((8, 5), np.int64)
    marks.add(stamp(MODEL.draw(replace(batch, augment={"x": box + 1}))))
    box[3, 4] = 1
    marks.add(stamp(MODEL.draw(replace(batch, augment={"x": box}))))
    assert len(marks) == 6


def test_pixels_do_not_matter() -> None:
    batch = toy_batch(range(8))
    other = batch.with_field("x", batch["x"] * 2)
    assert stamp(MODEL.draw(batch)) == stamp(MODEL.draw(other))


def test_the_file_of_stamps_is_cut_and_read_back(tmp_path: Path) -> None:
    file = StampFile(tmp_path / "stamps.u64")
    for value in (1, 2**64 - 1, 3):
        file.add(value)
    file.flush()
    assert read_stamps(file.path).tolist() == [1, 2**64 - 1, 3]
    file.cut(2)
    assert read_stamps(file.path).tolist() == [1, 2**64 - 1]
    assert read_stamps(tmp_path / "none").tolist() == []
