"""Two renderings of one crop."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mmask.api import RecipeError, Sample, SampleId, single
from mmask_image.decode import ImageDecoder
from mmask_image.pair import PairDecoder

SIZES = {"size": 48, "scale": (0.08, 1.0)}


def sample(number: int = 0, high: int = 90, wide: int = 120) -> Sample:
    """A picture whose red grows downwards and whose green grows to the right."""
    down, across = np.mgrid[0:high, 0:wide]
    array = np.stack([down * 255 / high, across * 255 / wide, np.full_like(down, 40)], -1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return Sample(SampleId("s", "a.tar", str(number)), {"png": stream.getvalue()})


def keys(number: int):
    return single(0, number, 0)


def test_the_first_rendering_is_that_of_the_image_decoder():
    one, two = ImageDecoder(**SIZES), PairDecoder(**SIZES)
    for number in range(10):
        a, b = one(sample(number), keys(number)), two(sample(number), keys(number))
        assert torch.equal(a["image"], b["image"])
        assert np.array_equal(a["augment.image"], b["augment.image"])
    assert torch.equal(one(sample(), None)["image"], two(sample(), None)["image"])


@pytest.mark.parametrize("interpolation", ["lanczos", "bicubic", "bilinear"])
@pytest.mark.parametrize("number", [*range(8), None])
def test_the_second_rendering_shows_the_same_crop_and_flip(number, interpolation):
    """Colours say where a pixel was: halving the first rendering gives nearly the second."""
    made = PairDecoder(**SIZES, second_interpolation=interpolation)
    given = keys(number) if number is not None else None
    out = made(sample(number or 0), given)
    assert out["second"].shape == (3, 24, 24)
    assert out["second"].dtype == torch.uint8
    half = torch.nn.functional.avg_pool2d(out["image"].float(), 2)
    assert (half - out["second"].float()).abs().max() < 6
    if number is not None and out["augment.image"][-1]:
        assert (half.flip(-1) - out["second"].float()).abs().max() > 6


def test_lanczos_is_pillows():
    made = PairDecoder(**SIZES)
    out = made(sample(3), keys(3))
    top, left, high, wide, flipped = out["augment.image"].tolist()
    picture = Image.open(io.BytesIO(sample(3).parts["png"])).crop((left, top, left + wide, top + high))
    want = np.array(picture.resize((24, 24), Image.Resampling.LANCZOS))
    want = want[:, ::-1] if flipped else want
    assert np.array_equal(out["second"].permute(1, 2, 0).numpy(), want)


def test_sizes_need_not_be_square_and_grey_pictures_have_one_channel():
    out = PairDecoder(size=(32, 64), second=(8, 16), channels=1)(sample(), keys(0))
    assert out["image"].shape == (1, 32, 64)
    assert out["second"].shape == (1, 8, 16)
    centred = PairDecoder(size=(32, 64), second=(8, 16), channels=1, centre=0.8)(sample(), None)
    assert centred["second"].shape == (1, 8, 16)


def test_options_that_make_no_picture_are_errors():
    with pytest.raises(RecipeError, match="second_interpolation 'lancsoz'"):
        PairDecoder(second_interpolation="lancsoz")
    with pytest.raises(RecipeError, match="no size"):
        PairDecoder(second=0)
    with pytest.raises(RecipeError, match="1 or 3 channels"):
        PairDecoder(channels=4)
