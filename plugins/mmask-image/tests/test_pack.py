"""The image packer and the contact sheet."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmask.api import Batch, RecipeError, SampleError
from mmask_image.contact import ContactSheet
from mmask_image.pack import ImagePacker


def written(path: Path, size: tuple[int, int] = (60, 40), colour: tuple[int, ...] = (200, 20, 20)) -> Path:
    Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour).save(path)
    return path


def test_files_stay_byte_for_byte_unless_a_change_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.JPEG")
    assert ImagePacker()(path, {}) == {"jpg": path.read_bytes()}
    assert ImagePacker(resize=40)(path, {}) == {"jpg": path.read_bytes()}
    assert set(ImagePacker(format="webp")(path, {})) == {"webp"}


def test_resizing_makes_the_shorter_side_right_and_keeps_the_aspect(tmp_path: Path) -> None:
    parts = ImagePacker(resize=20, format="png")(written(tmp_path / "a.png"), {})
    assert Image.open(io.BytesIO(parts["png"])).size == (30, 20)
    jpeg = ImagePacker(resize=20)(written(tmp_path / "b.png", colour=(0, 0, 0, 0)), {})["jpg"]
    assert np.asarray(Image.open(io.BytesIO(jpeg))).min() > 250  # transparent: white


def test_quality_matters(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / "n.png"
    Image.fromarray(noise).save(path)
    sizes = [len(ImagePacker(format="jpg", quality=quality)(path, {})["jpg"]) for quality in (20, 95)]
    assert sizes[0] < sizes[1] / 2


def test_damaged_and_huge_files_are_sample_errors(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SampleError):
        ImagePacker()(path, {})
    with pytest.raises(SampleError, match="max_pixels"):
        ImagePacker(max_pixels=10)(written(tmp_path / "b.png"), {})
    bad = tmp_path / "x.npy"
    bad.write_bytes(b"nothing")
    with pytest.raises(SampleError):
        ImagePacker()(bad, {})


@pytest.mark.parametrize("options", [{"resize": 0}, {"quality": 0}, {"quality": 101}])
def test_unfit_options(options: dict[str, int]) -> None:
    with pytest.raises(RecipeError):
        ImagePacker(**options)  # type: ignore[arg-type]


def test_a_contact_sheet_shows_each_sample_and_crosses_what_cannot_be_decoded(tmp_path: Path) -> None:
    red, blue = (written(tmp_path / f"{c[2]}.png", colour=c).read_bytes() for c in ((250, 0, 0), (0, 0, 250)))
    array = io.BytesIO()
    np.save(array, np.linspace(0, 1, 600).reshape(20, 30))
    fields = {
        "png": [red, None, b"broken", None], "jpg": [None, blue, None, None],
        "npy": [None, None, None, array.getvalue()], "cls": [b"3", b"4", None, None],
    }
    batch = Batch(fields, np.arange(4, dtype=np.uint64), np.zeros(4, np.int64), ("a", "b", "c", "d"))
    sheet = ContactSheet(side=60, columns=2)(None, batch)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 2 * 68 + 8
    assert sheet[8 + 30, 8 + 30].tolist() == [250, 0, 0]
    assert sheet[8 + 30, 76 + 30].tolist() == [0, 0, 250]
    cell = 60 + 8 + 2 * 13
    assert sheet[8 + cell + 10, 8 + 40].tolist() == [255, 238, 238]  # the crossed box
    ramp = sheet[8 + cell + 30, 76:136, 0].astype(int)
    assert len(np.unique(sheet[8 + cell + 12 : 8 + cell + 48, 76:136])) > 100
    assert ramp.min() >= 0
