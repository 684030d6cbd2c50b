"""The video decoder: some frames of a stored video -> (C, T, H, W) uint8, cropped, flipped and of one size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from mmask.api import Keys, RecipeError, Sample, SampleError, seeded_scope
from mmask_video.container import Survey, Video
from mmask_video.sampling import sampler

EXTENSIONS = ("mp4", "webm", "mkv", "mov", "avi", "gif")


class VideoDecoder:
    """Makes the field ``video``, (3, frames, height, width) uint8.

    frames: of the clip. sampling: ``dense``, every ``stride``-th frame of one stretch; ``uniform``, one of each of
    ``frames`` equal parts; ``sparse``, at equal distances without a draw. span: two keys of the sample's JSON that
    hold the start and the end in seconds of the part to use; None uses the whole video. size: side, or (height,
    width), in pixels. scale, ratio: the random resized crop's share of the area and width:height, one crop for
    the clip. flip: probability of a horizontal flip. fit: how evaluation (no keys) brings frames to ``size``:
    ``crop``, the centre of the covering resize, or ``pad``, the whole frame on black (VIOLET, which also trains so:
    set scale to none). second: size of a second rendering of the same crop, the field ``second``, for a tokenizer of
    pictures that gives targets. extensions: parts of a sample to look for, in this order. max_pixels: of one frame.

    Only packets up to the last wanted frame are decoded, from the key frame before each. With keys also
    ``augment.video``: the frame numbers, then (top, left, height, width, flipped). Raises SampleError.
    """

    def __init__(
        self, *, frames: int = 16, sampling: str = "dense", stride: int = 4, span: Sequence[str] | None = None,
        size: int | Sequence[int] = 224, scale: Sequence[float] | None = (0.5, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3), flip: float = 0.5, fit: str = "crop",
        second: int | Sequence[int] | None = None, extensions: Sequence[str] = EXTENSIONS, max_pixels: int = 1 << 24,
    ) -> None:
        if frames < 1 or stride < 1:
            raise RecipeError(f"frames = {frames} and stride = {stride} must be at least 1")
        if fit not in ("crop", "pad"):
            raise RecipeError(f"fit = '{fit}' is unknown; there are crop and pad")
        if not 0 <= flip <= 1 or (scale is not None and not 0 < scale[0] <= scale[1] <= 1):
            raise RecipeError(f"flip = {flip} must lie in [0, 1] and scale = {scale} rise within (0, 1]")
        if span is not None and len(span) != 2:
            raise RecipeError(f"span = {tuple(span)} must name two keys, a start and an end")
        self.frames, self.stride, self.pick = frames, stride, sampler(sampling)
        self.size = _pair(size)
        self.second = None if second is None else _pair(second)
        self.scale, self.ratio, self.flip, self.fit = scale, ratio, flip, fit
        self.span, self.max_pixels = span, max_pixels
        self.extensions = tuple(extension.lower().lstrip(".") for extension in extensions)

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``video``, and ``augment.video`` when keys are given."""
        extension = next((one for one in self.extensions if one in sample.parts), None)
        if extension is None:
            raise SampleError(
                f"{sample.id} has no video; its parts are {sorted(sample.parts)}",
                hint=f"the video decoder looks for {', '.join(self.extensions)}; set its 'extensions'",
            )
        try:
            with Video(sample.parts[extension], max_pixels=self.max_pixels) as video:
                wanted = self._wanted(video.survey, sample, keys)
                stacked = np.stack(video.frames(wanted.tolist()))
        except SampleError as error:
            raise SampleError(f"{sample.id}.{extension}: {error.message}", hint=error.hint) from error
        clip = torch.from_numpy(stacked).permute(0, 3, 1, 2)  # T C H W
        sizes = {"video": self.size, **({} if self.second is None else {"second": self.second})}
        if keys is None or self.scale is None:
            return {name: self._whole(clip, size).transpose(0, 1).contiguous() for name, size in sizes.items()}
        box = self._box(clip, keys)
        made = {name: _cropped(clip, box, size).transpose(0, 1).contiguous() for name, size in sizes.items()}
        return {**made, "augment.video": np.array([*wanted, *box], np.int64)}

    def _wanted(self, survey: Survey, sample: Sample, keys: Keys | None) -> np.ndarray:
        """(frames,) numbers of the frames to read, ascending."""
        first, last = (0, len(survey)) if self.span is None else survey.between(*_seconds(sample, self.span))
        if last <= first:
            raise SampleError(f"no frame lies between the seconds that {self.span} name")
        draws = None if keys is None else keys.uniform("video.frames", self.frames)[0]
        return first + self.pick(last - first, self.frames, self.stride, draws)

    def _box(self, clip: Tensor, keys: Keys) -> tuple[int, ...]:
        """(top, left, height, width, flipped)."""
        assert self.scale is not None
        crop = RandomResizedCrop(self.size, scale=tuple(self.scale), ratio=tuple(self.ratio), antialias=True)
        with seeded_scope(int(keys.rows("video.crop")[0])):
            box = crop.make_params([clip])
        flipped = bool(keys.uniform("video.flip", 1)[0, 0] < self.flip)
        return *(int(box[name]) for name in ("top", "left", "height", "width")), int(flipped)

    def _whole(self, clip: Tensor, size: list[int]) -> Tensor:
        """(T, C, H, W) -> the whole frame on black, or the centre of the covering resize."""
        high, wide = clip.shape[-2:]
        ratios = size[0] / high, size[1] / wide
        by = min(ratios) if self.fit == "pad" else max(ratios)
        near = [max(1, round(high * by)), max(1, round(wide * by))]
        if near != [high, wide]:
            clip = F.resize(clip, near, F.InterpolationMode.BICUBIC, antialias=True)
        return F.center_crop(clip, size)  # pads with black what is smaller


def _cropped(clip: Tensor, box: tuple[int, ...], size: list[int]) -> Tensor:
    """(T, C, H, W) -> the box of it at ``size``."""
    top, left, high, wide, flipped = box
    out = F.resized_crop(clip, top, left, high, wide, size, F.InterpolationMode.BICUBIC, antialias=True)
    return F.horizontal_flip(out) if flipped else out


def _pair(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _seconds(sample: Sample, span: Sequence[str]) -> tuple[float, float]:
    try:
        about = json.loads(sample.parts["json"])
        return float(about[span[0]]), float(about[span[1]])
    except (KeyError, TypeError, ValueError) as error:
        raise SampleError(f"the JSON has no seconds '{span[0]}' and '{span[1]}': {error}") from error
