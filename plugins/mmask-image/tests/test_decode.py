"""The decoder against its plain twin in Pillow and torchvision, and what it does with odd pictures."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from mmask.api import Keys, RecipeError, Sample, SampleError, SampleId, single
from mmask_image.decode import ImageDecoder
from mmask_image.resize import resize


def picture(height: int = 90, width: int = 120, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Smooth structure, hard edges and noise: what overshoots in a bicubic filter."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [127 + 120 * np.sin(x / (5 + 3 * c) + y / (7 + c)) for c in range(channels)]
    array = np.stack(planes, -1) + rng.normal(0, 12, (height, width, channels))
    array[height // 3 : height // 2, width // 4 : width // 2] = rng.choice([0, 255], channels)
    return array.clip(0, 255).astype(np.uint8)


def stored(array: np.ndarray | Image.Image, form: str = "jpeg", **options: object) -> bytes:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array.squeeze())
    to = io.BytesIO()
    image.save(to, form, **options)
    return to.getvalue()


def sample(data: bytes, part: str = "jpg", key: str = "k") -> Sample:
    return Sample(SampleId("s", "shard", key), {part: data})


def keys(number: int) -> Keys:
    return single(0, number, 0)


def plain_twin(data: bytes, box: tuple[int, int, int, int], flipped: bool, size: tuple[int, int],
               mode: Image.Resampling) -> np.ndarray:
    """The same crop by Pillow alone. -> (3, h, w)."""
    top, left, height, width = box
    image = Image.open(io.BytesIO(data)).convert("RGB").crop((left, top, left + width, top + height))
    image = image.resize((size[1], size[0]), mode)
    array = np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else image)
    return array.transpose(2, 0, 1).astype(int)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(400, 500), (500, 400), (97, 331), (40, 30)])
def test_pixels_are_within_two_of_pillow_for_the_same_crop(height: int, width: int, mode: str) -> None:
    data = stored(picture(height, width, seed=height), quality=92)
    decoder = ImageDecoder(size=(96, 112), scale=(0.05, 1.0), ratio=(0.5, 2.0), interpolation=mode)
    flips = set()
    for number in range(25):
        made = decoder(sample(data), keys(number))
        *box, flipped = made["augment.image"].tolist()
        flips.add(flipped)
        want = plain_twin(data, tuple(box), bool(flipped), (96, 112), Image.Resampling[mode.upper()])
        assert made["image"].dtype == torch.uint8
        assert made["image"].is_contiguous()
        assert np.abs(want - made["image"].numpy()).max() <= 2
    assert flips == {0, 1}


def test_the_resize_alone_follows_pillow_at_any_scale() -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        height, width, h, w = (int(side) for side in rng.integers(8, 260, 4))
        array = picture(height, width, seed=number)
        want = np.asarray(Image.fromarray(array).resize((w, h), Image.Resampling.BICUBIC)).astype(int)
        got = resize(torch.from_numpy(array), (h, w)).numpy()
        assert got.shape == (h, w, 3)
        assert np.abs(want - got).max() <= 2, (height, width, h, w)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}])
def test_the_direct_jpeg_road_gives_pillows_pixels(options: dict[str, object]) -> None:
    data = stored(picture(101, 131), quality=88, **options)
    want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(ImageDecoder().read(sample(data)).numpy(), want)


@pytest.mark.parametrize(("height", "width"), [(90, 120), (120, 90), (64, 64), (200, 65)])
def test_without_keys_it_is_torchvisions_resize_and_centre_crop(height: int, width: int) -> None:
    data = stored(picture(height, width), "png")
    twin = transforms.Compose([
        transforms.Resize(64, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(56),
        transforms.PILToTensor(),
    ])
    want = twin(Image.open(io.BytesIO(data)).convert("RGB")).int()
    made = ImageDecoder(size=56, centre=0.875)(sample(data, "png"), None)
    assert set(made) == {"image"}
    assert (made["image"].int() - want).abs().max() <= 2


def test_the_same_key_gives_the_same_picture_and_another_key_another() -> None:
    data = stored(picture())
    decoder = ImageDecoder(size=32)
    first, again, other = (decoder(sample(data), keys(number)) for number in (1, 1, 2))
    assert torch.equal(first["image"], again["image"])
    assert np.array_equal(first["augment.image"], again["augment.image"])
    assert not np.array_equal(first["augment.image"], other["augment.image"])


def test_flip_options() -> None:
    data = stored(picture())
    for flip, share in ((False, 0), (0.0, 0), (1.0, 1), (True, 0.5)):
        decoder = ImageDecoder(size=8, flip=flip)
        flips = [int(decoder(sample(data), keys(n))["augment.image"][4]) for n in range(200)]
        assert abs(np.mean(flips) - share) < 0.12


def test_alpha_lies_on_white_and_palettes_are_resolved() -> None:
    array = np.zeros((16, 16, 4), np.uint8)
    array[:8] = (255, 0, 0, 255)
    clear = ImageDecoder(size=16)(sample(stored(array, "png"), "png"), None)["image"]
    assert clear[:, 0, 0].tolist() == [255, 0, 0]
    assert clear[:, 15, 15].tolist() == [255, 255, 255]
    palette = Image.fromarray(array, "RGBA").quantize(4)
    shown = ImageDecoder(size=16)(sample(stored(palette, "png"), "png"), None)["image"]
    assert shown[:, 15, 15].tolist() == [255, 255, 255]
    grey = Image.fromarray(np.full((16, 16), 77, np.uint8)).convert("LA")
    assert ImageDecoder(size=16)(sample(stored(grey, "png"), "png"), None)["image"].unique().tolist() == [77]


def test_cmyk_one_bit_and_sixteen_bit_pictures() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    cmyk = stored(red.convert("CMYK"), quality=95)
    assert np.abs(ImageDecoder(size=16)(sample(cmyk), None)["image"][:, 8, 8].int().numpy() - (200, 30, 30)).max() < 6
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    deep = ImageDecoder(size=16, channels=1)(sample(stored(Image.fromarray(ramp), "png"), "png"), None)["image"]
    assert deep.flatten().tolist() == list(range(256))
    bits = Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("1")
    assert ImageDecoder(size=16)(sample(stored(bits, "png"), "png"), None)["image"].unique().tolist() == [0, 255]


def test_one_channel_is_luma_and_agrees_with_pillow() -> None:
    colour, grey = stored(picture()), stored(picture(channels=1))
    for data in (colour, grey):
        want = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert np.array_equal(ImageDecoder(channels=1).read(sample(data))[..., 0].numpy(), want)
    assert ImageDecoder(size=24, channels=1)(sample(colour), keys(0))["image"].shape == (1, 24, 24)


def test_exif_orientation_is_applied_unless_told_not_to() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    data = stored(picture(20, 30), exif=exif)
    assert ImageDecoder().read(sample(data)).shape == (30, 20, 3)
    assert ImageDecoder(orient=False).read(sample(data)).shape == (20, 30, 3)


def test_bombs_are_refused_from_the_header_alone() -> None:
    huge = stored(Image.new("1", (12_000, 12_000)), "png")
    jpeg = stored(picture(100, 100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SampleError, match="12000 x 12000 pixels, more than"):
            ImageDecoder()(sample(huge, "png"), None)
        with pytest.raises(SampleError, match="100 x 100 pixels, more than max_pixels = 9999"):
            ImageDecoder(max_pixels=9999)(sample(jpeg), None)
    assert ImageDecoder(max_pixels=10_000)(sample(jpeg), None)["image"].shape == (3, 224, 224)


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_truncated_and_foreign_bytes_are_sample_errors(form: str) -> None:
    data = stored(picture(200, 200), form)
    for bad in (data[: len(data) // 2], data[:40], b"", b"not a picture at all", data[:3]):
        with pytest.raises(SampleError, match=r"s:shard:k\.pic"):
            ImageDecoder(extensions=["pic"])(sample(bad, "pic"), None)


def test_arrays_of_any_number_of_channels() -> None:
    def saved(array: np.ndarray) -> Sample:
        to = io.BytesIO()
        np.save(to, array)
        return sample(to.getvalue(), "npy")

    bands = np.random.default_rng(0).random((40, 50, 6)).astype(np.float32)
    made = ImageDecoder(size=(8, 12), channels=6)(saved(bands), keys(0))
    assert made["image"].shape == (6, 8, 12)
    assert made["image"].dtype == torch.float32
    whole = ImageDecoder(size=(40, 50), channels=6)(saved(bands), None)["image"]
    assert np.array_equal(whole.numpy(), bands.transpose(2, 0, 1))
    bytes_ = (bands * 255).astype(np.uint8)
    assert ImageDecoder(size=16, channels=6)(saved(bytes_), None)["image"].dtype == torch.uint8
    with pytest.raises(SampleError, match=r"expected \(H, W, 4\)"):
        ImageDecoder(channels=4)(saved(bands), None)
    with pytest.raises(SampleError, match=r"not numbers|not a \.npy"):
        ImageDecoder(channels=1)(saved(np.array([[{}]], dtype=object)), None)
    with pytest.raises(SampleError, match="1 or 3 channels, not 6"):
        ImageDecoder(channels=6)(sample(stored(picture())), None)


def test_a_missing_part_says_what_there_is() -> None:
    with pytest.raises(SampleError, match=r"its parts are \['cls'\]"):
        ImageDecoder()(Sample(SampleId("s", "a", "k"), {"cls": b"1"}), None)


@pytest.mark.parametrize(
    "options",
    [{"scale": (0.5, 1.5)}, {"scale": (0.9, 0.1)}, {"ratio": (2.0, 1.0)}, {"size": 0}, {"size": (3,)},
     {"interpolation": "nearest"}, {"centre": 0.0}, {"flip": 1.5}, {"channels": 0}, {"extensions": ()}],
)
def test_unfit_options_are_recipe_errors(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        ImageDecoder(**options)  # type: ignore[arg-type]
