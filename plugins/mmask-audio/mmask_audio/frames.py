"""FrameTokenizer: every frame of a recording's features is a place."""

from __future__ import annotations

import torch
from torch import Tensor

from mmask.api import Batch, Layout, RecipeError, Tokens


class FrameTokenizer:
    """Frames of features as they are, one place each, with a cell for every bin.

    bins: values of a frame. field: the batch's field, (B, T, bins) floating point, padded at the end where
    ``<field>.length`` (B,) says so.
    """

    def __init__(self, *, bins: int = 80, field: str = "features") -> None:
        if bins < 1:
            raise RecipeError(f"bins = {bins} must be at least 1")
        self.bins, self.field, self.dim, self.in_chans = bins, field, bins, 1

    def layout(self, batch: Batch) -> Layout:
        """(B, T) places with ``channels``. Raises RecipeError for another number of bins."""
        shape = tuple(batch[self.field].shape)
        if len(shape) != 3 or shape[2] != self.bins:
            raise RecipeError(
                f"field '{self.field}' is {shape}; the model takes (B, T, {self.bins})",
                hint="give the decoder and the tokenizer the same number of bins",
            )
        return Layout(shape[0], shape[1], valid=valid_frames(batch, self.field), channels=self.bins)

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, T, bins)."""
        return Tokens(self.layout(batch), batch[self.field])

    def example(self, count: int) -> dict[str, Tensor]:
        """Frames of noise, from torch's generator: what an export is compared on."""
        return {self.field: torch.randn(count, 50, self.bins)}

    def picture(self, values: Tensor, layout: Layout) -> Tensor:
        """(B, T, bins) -> (B, bins, T): what a spectrogram shows."""
        return values.transpose(1, 2)


def valid_frames(batch: Batch, field: str) -> Tensor | None:
    """(B, T) bool, False at padding, or None where nothing is padded."""
    name = f"{field}.length"
    if name not in batch.fields:
        return None
    length, frames = batch[name], batch[field].shape[1]
    if length.is_meta:
        return None
    valid = torch.arange(frames, device=length.device)[None] < length[:, None]
    return None if bool(valid.all()) else valid
