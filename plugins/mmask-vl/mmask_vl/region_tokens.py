"""RegionTokenizer: regions of a picture as places, each its features and the code of its box."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, Layout, RecipeError, Tokens
from mmask_vl.describe import DIM, MOSAIC
from mmask_vl.drawing import picture_of

CODES = (4, 5, 7)


def box_code(boxes: Tensor, size: int) -> Tensor:
    """(..., 4 or more) boxes, the first four of which are x1, y1, x2, y2 in [0, 1] -> (..., size).

    4: the corners. 5: and the area (ViLBERT, InterBERT). 7: corners, width, height, area (UNITER). Boxes that have
    ``size`` numbers already are taken as they are.
    """
    if boxes.shape[-1] == size:
        return boxes
    corners = boxes[..., :4]
    sides = corners[..., 2:] - corners[..., :2]
    area = sides[..., :1] * sides[..., 1:]
    return torch.cat([corners, *([sides] if size == 7 else []), *([area] if size > 4 else [])], -1)


class RegionTokenizer:
    """Regions as the decoder `regions` made them -> Tokens, values (B, R, dim + code): features, then the box.

    dim: numbers of a region's features. code: numbers that say where it lies, see `box_code`. field: of the batch,
    ``<field>`` (B, R, dim), ``<field>.box`` (B, R, 4 or code), ``<field>.length`` (B,) where pictures differ in R.
    """

    def __init__(self, *, dim: int = 2048, code: int = 7, field: str = "regions") -> None:
        if dim < 1 or code not in CODES:
            raise RecipeError(f"regions of {dim} features and a box of {code} numbers; dim is 1 or more, code {CODES}")
        self.dim, self.code, self.field = dim, code, field

    def layout(self, batch: Batch) -> Layout:
        """(B, R) places; those beyond ``<field>.length`` are padding. Raises RecipeError for features of another
        size."""
        shape = tuple(batch[self.field].shape)
        if len(shape) != 3 or shape[2] != self.dim:
            raise RecipeError(
                f"field '{self.field}' is {shape}; the model takes (B, R, {self.dim})",
                hint=f"set tokenize.{self.field}.dim to the size of the stored features",
            )
        length = batch.fields.get(f"{self.field}.length")
        if length is None or length.is_meta:
            return Layout(shape[0], shape[1], channels=self.dim)
        valid = torch.arange(shape[1])[None] < length.cpu()[:, None]
        return Layout(shape[0], shape[1], valid=valid, channels=self.dim)

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, R, dim + code)."""
        features = batch[self.field]
        features = features if features.dtype == torch.float64 else features.float()
        boxes = box_code(batch[f"{self.field}.box"].to(features.dtype), self.code)
        return Tokens(self.layout(batch), values=torch.cat([features, boxes], -1))

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(..., dim + code) -> features (..., dim) and boxes (..., code)."""
        features, boxes = values.split([self.dim, self.code], -1)
        return features, boxes

    def show(self, batch: Batch, row: int, *, tile: int = 96) -> np.ndarray:
        """(tile, tile, 3) uint8: the picture, where the decoder reads it, or what the features of a grid say of it, or
        boxes alone."""
        length = batch.fields.get(f"{self.field}.length")
        count = len(batch[self.field][row]) if length is None else int(length[row])
        features, boxes = (batch[name][row, :count].cpu().numpy() for name in (self.field, f"{self.field}.box"))
        image = None if f"{self.field}.image" not in batch.fields else batch[f"{self.field}.image"][row].cpu()
        return picture_of(features, boxes, image, tile, MOSAIC if self.dim == DIM else 0)

    def example(self, count: int) -> dict[str, Tensor]:
        """Twelve regions of noise a picture, from torch's generator: what an export is compared on."""
        corners = torch.rand(count, 12, 2, 2).sort(dim=2).values.flatten(2)
        return {self.field: torch.randn(count, 12, self.dim), f"{self.field}.box": corners}
