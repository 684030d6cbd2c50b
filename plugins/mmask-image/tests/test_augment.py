"""The crop's arithmetic against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from mmask_image.augment import NUMBERS, cover, random_box

SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)


@pytest.mark.parametrize(("height", "width"), [(400, 500), (500, 100), (7, 9), (1, 1), (3, 400)])
def test_boxes_lie_inside(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for numbers in rng.random((300, NUMBERS)).tolist():
        box = random_box((height, width), SCALE, RATIO, numbers)
        assert box.height >= 1
        assert box.width >= 1
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width


def measured(boxes: np.ndarray, what: str) -> np.ndarray:
    top, left, height, width = boxes.T
    return {"area": height * width, "aspect": np.log(width / height), "top": top, "left": left}[what]


def test_the_distribution_is_torchvisions() -> None:
    n = 4000
    numbers = np.random.default_rng(1).random((n, NUMBERS)).tolist()
    ours = np.array([random_box((300, 400), SCALE, RATIO, row) for row in numbers], float)
    torch.manual_seed(0)
    blank = torch.empty(3, 300, 400)
    theirs = np.array([RandomResizedCrop.get_params(blank, list(SCALE), list(RATIO)) for _ in range(n)], float)
    for measure in ("area", "aspect", "top", "left"):
        a, b = (np.sort(measured(boxes, measure)) for boxes in (ours, theirs))
        spread = b.std()
        assert np.abs(a - b).mean() < 0.06 * spread  # the distance between two samples of this size is about 0.03


def test_a_shape_that_cannot_be_had_falls_back_to_the_largest_centred_box() -> None:
    tall = random_box((400, 100), (1.0, 1.0), RATIO, [0.5] * NUMBERS)
    assert (tall.top, tall.left, tall.height, tall.width) == ((400 - 133) // 2, 0, 133, 100)
    wide = random_box((100, 400), (1.0, 1.0), RATIO, [0.5] * NUMBERS)
    assert (wide.top, wide.left, wide.height, wide.width) == (0, (400 - 133) // 2, 100, 133)


@pytest.mark.parametrize("keep", [1.0, 0.875, 0.5])
@pytest.mark.parametrize("size", [(64, 64), (32, 96), (96, 32)])
@pytest.mark.parametrize("picture", [(90, 120), (120, 90), (64, 64), (10, 300)])
def test_the_evaluation_resize_covers_the_crop(picture: tuple[int, int], size: tuple[int, int], keep: float) -> None:
    full, box = cover(picture, size, keep)
    assert full[0] >= size[0] / keep - 1
    assert full[1] >= size[1] / keep - 1
    assert 0 <= box.top <= full[0] - box.height
    assert 0 <= box.left <= full[1] - box.width
    assert (box.height, box.width) == size
    assert min(full[0] / (size[0] / keep), full[1] / (size[1] / keep)) <= 1.01  # no larger than needed
