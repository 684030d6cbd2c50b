"""Colour jitter: torchvision's arithmetic and spread, keyed, the same in both renderings of a pair."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as F

from mmask.api import RecipeError, Sample, SampleError, SampleId, single
from mmask.testing import recipe
from mmask_image.decode import ImageDecoder
from mmask_image.jitter import NUMBERS, draw, jitter, strengths
from mmask_image.pair import PairDecoder

PICTURE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8))


def sample(picture=PICTURE):
    to = io.BytesIO()
    Image.fromarray(picture.numpy()).save(to, "png")
    return Sample(SampleId("s", "a", "0"), {"png": to.getvalue()})


def test_factors_spread_as_torchvisions_do():
    numbers = np.random.default_rng(1).random((2000, NUMBERS)).tolist()
    ours = np.array([draw((0.4, 0.6, 1.5, 0.2), row)[0] for row in numbers])
    torch.manual_seed(0)
    theirs = ColorJitter(0.4, 0.6, 1.5, 0.2)
    spans = (theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)
    for column, (low, high) in zip(ours.T, spans, strict=True):
        assert low <= column.min() < low + 0.05 * (high - low) and high - 0.05 * (high - low) < column.max() <= high
    assert len({draw((0.4,) * 3 + (0.0,), row)[1] for row in numbers}) == 24


def test_it_is_torchvisions_arithmetic_in_the_drawn_order():
    planes = PICTURE.permute(2, 0, 1)
    want = F.adjust_brightness(F.adjust_hue(F.adjust_saturation(F.adjust_contrast(planes, 1.3), 0.5), 0.1), 0.8)
    assert torch.equal(jitter(PICTURE, (0.8, 1.3, 0.5, 0.1), (1, 2, 3, 0)), want.permute(1, 2, 0))
    assert torch.equal(jitter(PICTURE, (1.0, 1.0, 1.0, 0.0), (0, 1, 2, 3)), PICTURE)


def test_a_key_decides_and_no_key_leaves_the_colours():
    options = {"size": 16, "jitter": 0.4}
    decoder, plain = ImageDecoder(**options), ImageDecoder(size=16)
    one, same, other = (decoder(sample(), single(seed, 7, 0)) for seed in (0, 0, 1))
    assert torch.equal(one["image"], same["image"]) and not torch.equal(one["image"], other["image"])
    told = plain(sample(), single(0, 7, 0))
    assert np.array_equal(told["augment.image"], one["augment.image"])  # the crop is that without jitter
    assert "augment.jitter" not in told and one["augment.jitter"].shape == (8,)
    assert torch.equal(decoder(sample(), None)["image"], plain(sample(), None)["image"])
    pair = PairDecoder(**options, second=8, scale=(0.2, 1.0))(sample(), single(0, 7, 0))
    assert torch.equal(pair["image"], one["image"])
    grey = PairDecoder(size=16, second=16, second_interpolation="bicubic", jitter=(0.5, 0.5, 0.5, 0.5))
    made = grey(sample(), single(0, 7, 0))
    assert torch.equal(made["image"], made["second"])


@pytest.mark.parametrize("value", [-0.1, (0.4, 0.4, 0.4, 0.6), (1, 1, 1, 0.1, 1)])
def test_strengths_that_cannot_be_are_refused(value):
    with pytest.raises(RecipeError, match="jitter"):
        strengths(value)


def test_arrays_have_no_colours_and_beit_has_the_papers():
    with pytest.raises(SampleError, match="8 bits"):
        jitter(PICTURE.float(), (0.5, 1.0, 1.0, 0.0), (0, 1, 2, 3))
    assert recipe("beit-vit-b").data.decode["image"].options()["jitter"] == 0.4
