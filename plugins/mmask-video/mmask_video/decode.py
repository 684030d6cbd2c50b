"""The video decoder: some frames of a stored video -> (C, T, H, W) uint8, cropped, flipped and of one size."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from mmask.api import Keys, RecipeError, Sample, SampleError, seeded_scope
from mmask_video.container import Survey, Video
from mmask_video.sampling import sampler

EXTENSIONS = ("mp4", "webm", "mkv", "mov", "avi", "gif")


class VideoDecoder:
    """Makes the field ``video``, (3, frames, height, width) uint8.

    frames: of the clip. sampling: ``dense``, every ``stride``-th frame of one stretch, or with ``clips`` of one stretch
    in each of so many equal parts, one after another; ``uniform``, one of each of ``frames`` equal parts;
    ``sparse``, at equal distances without a draw. span: two keys of the sample's JSON that hold the start and the end
    in seconds of the part to use; None uses the whole video. size: side, or (height,
    width), in pixels. scale, ratio: the random resized crop's share of the area and width:height, one crop for the
    clip; with scale none training brings frames to ``size`` as evaluation does. flip: probability of a horizontal
    flip in training. fit: how evaluation (no keys) brings frames to ``size``: ``crop``, the centre of the covering
    resize, or ``pad``, the whole frame on black (VIOLET). second: size of a second rendering of the same crop, the
    field ``second``, for a tokenizer of pictures that gives targets. extensions: parts of a sample to look for, in
    this order. stills: parts that are a picture, looked for where a sample has no video: a clip whose frames are
    all alike, so that captioned pictures and clips share batches. max_pixels: of one frame.

    Only packets up to the last wanted frame are decoded, from the key frame before each. With keys also
    ``augment.video``: the frame numbers, then (top, left, height, width, flipped); the box is the whole frame with
    scale none. Raises SampleError.
    """

    def __init__(
        self, *, frames: int = 16, sampling: str = "dense", stride: int = 4, clips: int = 1,
        span: Sequence[str] | None = None, size: int | Sequence[int] = 224, scale: Sequence[float] | None = (0.5, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3), flip: float = 0.5, fit: str = "crop",
        second: int | Sequence[int] | None = None, extensions: Sequence[str] = EXTENSIONS, stills: Sequence[str] = (),
        max_pixels: int = 1 << 24,
    ) -> None:
        if frames < 1 or stride < 1:
            raise RecipeError(f"frames = {frames} and stride = {stride} must be at least 1")
        if fit not in ("crop", "pad"):
            raise RecipeError(f"fit = '{fit}' is unknown; there are crop and pad")
        if not 0 <= flip <= 1 or (scale is not None and not 0 < scale[0] <= scale[1] <= 1):
            raise RecipeError(f"flip = {flip} must lie in [0, 1] and scale = {scale} rise within (0, 1]")
        if not 0 < min(ratio) <= max(ratio):
            raise RecipeError(f"ratio = {ratio} must be above 0, width to height")
        if span is not None and len(span) != 2:
            raise RecipeError(f"span = {tuple(span)} must name two keys, a start and an end")
        self.frames, self.stride, self.pick = frames, stride, sampler(sampling, clips, frames)
        self.size = _pair(size)
        self.second = None if second is None else _pair(second)
        self.scale, self.ratio, self.flip, self.fit = scale, ratio, flip, fit
        self.span, self.max_pixels = span, max_pixels
        self.extensions, self.stills = (tuple(e.lower().lstrip(".") for e in es) for es in (extensions, stills))

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``video``, and ``augment.video`` when keys are given."""
        extension = next((one for one in (*self.extensions, *self.stills) if one in sample.parts), None)
        if extension is None:
            raise SampleError(
                f"{sample.id} has no video; its parts are {sorted(sample.parts)}",
                hint=f"the video decoder looks for {', '.join(self.extensions)}; set its 'extensions' or 'stills'",
            )
        data = sample.parts[extension]
        try:
            if extension in self.extensions:
                stacked, wanted = self._moving(data, sample, keys)
            else:
                stacked, wanted = _still(data, self.max_pixels), np.zeros(self.frames, np.int64)
        except SampleError as error:
            raise SampleError(f"{sample.id}.{extension}: {error.message}", hint=error.hint) from error
        clip = torch.from_numpy(stacked).permute(0, 3, 1, 2)  # T C H W; a still has T = 1
        sizes = {"video": self.size, **({} if self.second is None else {"second": self.second})}
        if keys is None:
            return {name: self._long(self._whole(clip, size)) for name, size in sizes.items()}
        box = self._box(clip, keys)
        made = {name: self._long(self._rendered(clip, box, size)) for name, size in sizes.items()}
        return {**made, "augment.video": np.array([*wanted, *box], np.int64)}

    def _moving(self, data: bytes, sample: Sample, keys: Keys | None) -> tuple[np.ndarray, np.ndarray]:
        """(T, H, W, 3) frames of a video, and their numbers."""
        with Video(data, max_pixels=self.max_pixels) as video:
            wanted = self._wanted(video.survey, sample, keys)
            return np.stack(video.frames(wanted.tolist())), wanted

    def _long(self, clip: Tensor) -> Tensor:
        """(T, C, H, W) -> (C, frames, H, W)."""
        return clip.expand(self.frames, -1, -1, -1).transpose(0, 1).contiguous()

    def _wanted(self, survey: Survey, sample: Sample, keys: Keys | None) -> np.ndarray:
        """(frames,) numbers of the frames to read, ascending."""
        first, last = (0, len(survey)) if self.span is None else survey.between(*_seconds(sample, self.span))
        if last <= first:
            raise SampleError(f"no frame lies between the seconds that {self.span} name")
        draws = None if keys is None else keys.uniform("video.frames", self.frames)[0]
        return first + self.pick(last - first, self.frames, self.stride, draws)

    def _box(self, clip: Tensor, keys: Keys) -> tuple[int, ...]:
        """(top, left, height, width, flipped)."""
        flipped = bool(keys.uniform("video.flip", 1)[0, 0] < self.flip)
        if self.scale is None:
            return 0, 0, *clip.shape[-2:], int(flipped)
        crop = RandomResizedCrop(self.size, scale=tuple(self.scale), ratio=tuple(self.ratio), antialias=True)
        with seeded_scope(int(keys.rows("video.crop")[0])):
            box = crop.make_params([clip])
        return *(int(box[name]) for name in ("top", "left", "height", "width")), int(flipped)

    def _rendered(self, clip: Tensor, box: tuple[int, ...], size: list[int]) -> Tensor:
        """(T, C, H, W) -> the box of it at ``size``; the whole frame as in evaluation where nothing is cropped."""
        top, left, high, wide, flipped = box
        if self.scale is None:
            out = self._whole(clip, size)
        else:
            out = F.resized_crop(clip, top, left, high, wide, size, F.InterpolationMode.BICUBIC, antialias=True)
        return F.horizontal_flip(out) if flipped else out

    def _whole(self, clip: Tensor, size: list[int]) -> Tensor:
        """(T, C, H, W) -> the whole frame on black, or the centre of the covering resize."""
        high, wide = clip.shape[-2:]
        ratios = size[0] / high, size[1] / wide
        by = min(ratios) if self.fit == "pad" else max(ratios)
        near = [max(1, round(high * by)), max(1, round(wide * by))]
        if near != [high, wide]:
            clip = F.resize(clip, near, F.InterpolationMode.BICUBIC, antialias=True)
        return F.center_crop(clip, size)  # pads with black what is smaller


def _still(data: bytes, max_pixels: int) -> np.ndarray:
    """(1, H, W, 3) uint8 of a picture; what is transparent lies on white."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > max_pixels:
                raise SampleError(f"{picture.width}x{picture.height} pixels; the limit is {max_pixels} pixels")
            colour = picture.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError(f"not a readable picture: {error}") from error
    paper = Image.new("RGBA", colour.size, "white")
    return np.asarray(Image.alpha_composite(paper, colour).convert("RGB"))[None].copy()


def _pair(size: int | Sequence[int]) -> list[int]:
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2 or min(pair) < 1:
        raise RecipeError(f"size = {size} must be one side or (height, width), at least 1 pixel each")
    return pair


def _seconds(sample: Sample, span: Sequence[str]) -> tuple[float, float]:
    try:
        about = json.loads(sample.parts["json"])
        return float(about[span[0]]), float(about[span[1]])
    except (KeyError, TypeError, ValueError) as error:
        raise SampleError(f"the JSON has no seconds '{span[0]}' and '{span[1]}': {error}") from error
