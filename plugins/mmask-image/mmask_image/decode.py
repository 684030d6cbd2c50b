"""The image decoder: the stored picture of a sample -> (C, H, W) uint8, cropped, flipped and of one size."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Keys, RecipeError, Sample, SampleError
from mmask_image.augment import NUMBERS, Box, cover, random_box
from mmask_image.jitter import NUMBERS as JITTERS
from mmask_image.jitter import draw, jitter, strengths
from mmask_image.picture import check_size, read_picture
from mmask_image.resize import MODES, resize

EXTENSIONS = ("jpg", "jpeg", "png", "webp", "ppm", "pgm", "bmp", "tif", "tiff", "gif", "npy")


class ImageDecoder:
    """Makes the field ``image``, (channels, h, w): uint8 for pictures, float32 for arrays of other dtypes.

    Values are raw: 0 to 255 for pictures. The tokenizer normalises a whole batch at once on the training side,
    so four times fewer bytes leave the worker.

    size: side, or (height, width), in pixels. channels: 1 or 3; any number for ``.npy`` arrays, stored
    (H, W, C) or (H, W). scale, ratio: the random resized crop's share of the area and width:height. flip:
    probability of a horizontal flip; True means one half. centre: for evaluation (no keys), the share of the
    covering resize that the centre crop keeps. interpolation: ``bicubic`` or ``bilinear``, both antialiased.
    jitter: colour jitter of the whole picture before the crop, as torchvision's ColorJitter: one strength for
    brightness, contrast and saturation, or up to four with hue; 0 for none.
    extensions: the parts of a sample to look for, in this order; a part ``left.jpg`` is asked for by that name.
    max_pixels: larger pictures are refused before they are decoded. orient: apply the EXIF orientation.

    With keys also ``augment.image``, (top, left, height, width, flipped) of the crop, and ``augment.jitter``.
    Defaults follow MAE (He et al. 2022, A.1) in the scale of the crop. Raises SampleError.
    """

    def __init__(
        self, *, size: int | Sequence[int] = 224, channels: int = 3,
        scale: Sequence[float] = (0.2, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: bool | float = 0.5, centre: float = 1.0, interpolation: str = "bicubic",
        extensions: Sequence[str] = EXTENSIONS, max_pixels: int = 1 << 26, orient: bool = True,
        jitter: float | Sequence[float] = 0.0,
    ) -> None:
        self.size = _pair("size", (size, size) if isinstance(size, int) else size, 1)
        self.scale, self.ratio = _pair("scale", scale, 0.0), _pair("ratio", ratio, 0.0)
        self.channels, self.max_pixels, self.orient = channels, max_pixels, orient
        self.flip = (0.5 if flip else 0.0) if isinstance(flip, bool) else float(flip)
        self.centre, self.interpolation, self.jitter = centre, interpolation, strengths(jitter)
        self.extensions = tuple(extension.lower().lstrip(".") for extension in extensions)
        if self.scale[1] > 1 or self.scale[0] > self.scale[1] or self.ratio[0] > self.ratio[1]:
            raise RecipeError(f"scale {self.scale} must rise within (0, 1] and ratio {self.ratio} must rise")
        if not 0 < centre <= 1 or not 0 <= self.flip <= 1:
            raise RecipeError(f"centre = {centre} must lie in (0, 1] and flip = {flip} in [0, 1]")
        if interpolation not in MODES:
            raise RecipeError(f"interpolation '{interpolation}' is unknown; there are {', '.join(MODES)}")
        if channels < 1 or not self.extensions:
            raise RecipeError("the image decoder needs at least one channel and one extension")

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``image``, and ``augment.image`` when keys are given."""
        picture = self.read(sample)
        if keys is None:
            return {"image": self.centred(picture)}
        numbers = keys.uniform("image.crop", NUMBERS)[0].tolist()
        picture, told = self.recoloured(picture, keys)
        box = random_box((picture.shape[0], picture.shape[1]), self.scale, self.ratio, numbers)
        flipped = numbers[-1] < self.flip
        return {
            "image": self.cropped(picture, box, flipped),
            "augment.image": np.array([*box, flipped], np.int64),
            **told,
        }

    def recoloured(self, picture: Tensor, keys: Keys) -> tuple[Tensor, dict[str, Any]]:
        """The picture after colour jitter, and what was drawn for it."""
        if not any(self.jitter):
            return picture, {}
        factors, order = draw(self.jitter, keys.uniform("image.jitter", JITTERS)[0].tolist())
        return jitter(picture, factors, order), {"augment.jitter": np.array([*factors, *order])}

    def read(self, sample: Sample) -> Tensor:
        """The whole picture, (H, W, channels), as stored."""
        for extension in self.extensions:
            data = sample.parts.get(extension)
            if data is not None:
                break
        else:
            raise SampleError(
                f"{sample.id} has no picture; its parts are {sorted(sample.parts)}",
                hint=f"the image decoder looks for {', '.join(self.extensions)}; set its 'extensions'",
            )
        try:
            if extension.endswith("npy"):
                return _array(data, self.channels, self.max_pixels)
            if self.channels not in (1, 3):
                raise SampleError(f"a .{extension} gives 1 or 3 channels, not {self.channels}", hint="use .npy")
            picture = read_picture(
                data, channels=self.channels, max_pixels=self.max_pixels, orient=self.orient
            )
            return torch.from_numpy(picture)
        except SampleError as error:
            raise SampleError(f"{sample.id}.{extension}: {error.message}", hint=error.hint) from error

    def cropped(self, picture: Tensor, box: Box, flipped: bool) -> Tensor:
        """A box of the picture at full size: (H, W, C) -> (C, h, w)."""
        crop = picture[box.top : box.top + box.height, box.left : box.left + box.width]
        small = resize(crop, self.size, self.interpolation)
        planes = small.permute(2, 0, 1).contiguous()
        return planes.flip(-1) if flipped else planes

    def centred(self, picture: Tensor) -> Tensor:
        """The evaluation crop: (H, W, C) -> (C, h, w)."""
        full, box = cover((picture.shape[0], picture.shape[1]), self.size, self.centre)
        whole = resize(picture, full, self.interpolation)
        crop = whole[box.top : box.top + box.height, box.left : box.left + box.width]
        return crop.permute(2, 0, 1).contiguous()


def _array(data: bytes, channels: int, max_pixels: int) -> Tensor:
    """A stored ``.npy``, (H, W) or (H, W, channels); integers wider than 8 bits become float32."""
    try:
        stream = io.BytesIO(data)
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
        if len(shape) not in (2, 3) or (shape[2] if len(shape) == 3 else 1) != channels or 0 in shape:
            raise SampleError(f"the array is {shape}, expected (H, W, {channels})")
        if dtype.kind not in "uif":
            raise SampleError(f"the array holds {dtype}, not numbers")
        check_size(shape[0], shape[1], max_pixels)
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SampleError(f"not a .npy array: {error}") from error
    array = array.reshape(shape[0], shape[1], channels)
    array = np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _pair(name: str, value: Sequence[Any], low: float) -> tuple[Any, Any]:
    if len(value) != 2 or any(part < low for part in value) or value[1] <= 0:
        raise RecipeError(f"{name} = {tuple(value)} must be two positive numbers")
    return value[0], value[1]
