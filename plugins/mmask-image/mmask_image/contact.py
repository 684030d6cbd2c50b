"""A contact sheet: stored samples side by side, with their keys and what is written about them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mmask.api import Sample, SampleError, StoredSheet
from mmask_image.decode import EXTENSIONS, ImageDecoder


class ContactSheet(StoredSheet):
    """Draws samples that are not decoded yet: ``batch.fields`` maps parts to lists of bytes or None.

    side: of a picture on the sheet, in pixels. columns: pictures in a row. What cannot be decoded is
    shown as a crossed box with the reason.
    """

    parts = EXTENSIONS

    def __init__(self, *, side: int = 128, columns: int = 8) -> None:
        super().__init__((side, side), columns, ("name", "caption", "label", "class"))
        self.side = side
        self._decode = ImageDecoder(size=side)

    def picture(self, sample: Sample) -> tuple[np.ndarray, str]:
        """The whole picture, letterboxed: a crop would hide what is stored."""
        decode = self._decode
        stored = next((name for name in decode.extensions if name in sample.parts), "")
        if stored.endswith("npy"):
            picture = _shown(sample.parts[stored])
        else:
            picture = Image.fromarray(decode.read(sample).numpy())
        picture.thumbnail((self.side, self.side), Image.Resampling.BICUBIC)
        if max(picture.size) < self.side:
            scale = self.side / max(picture.size)
            width, height = (max(1, round(edge * scale)) for edge in picture.size)
            picture = picture.resize((width, height), Image.Resampling.NEAREST)
        box = Image.new("RGB", (self.side, self.side), "#eee")
        box.paste(picture, ((self.side - picture.width) // 2, (self.side - picture.height) // 2))
        return np.asarray(box), ""


def _shown(data: bytes) -> Image.Image:
    """An array as a picture: its first one or three channels, stretched from minimum to maximum."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        planes = array if array.ndim == 2 else array[..., :3] if array.shape[2] >= 3 else array[..., 0]
        values = planes.astype(np.float64)
        low, high = float(values.min()), float(values.max())
    except (ValueError, EOFError, OSError, IndexError) as error:
        raise SampleError(f"npy: not an array that can be shown: {error}") from error
    scaled = (values - low) * (255 / (high - low) if high > low else 0.0)
    return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
