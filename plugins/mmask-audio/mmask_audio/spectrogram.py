"""SpectrogramTokenizer: features cut into a grid of patches, frequency by time (SSAST)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmask.api import Batch, Layout, RecipeError, Tokens, grid_shape, patchify, unpatchify


class SpectrogramTokenizer:
    """Patches of (bins, frames) of a spectrogram, numbered row by row, the lowest band first; values of a patch ordered
    (bin, frame).

    patch: (bins, frames) of a patch. bins, frames: of the spectrogram; frames is what the decoder cuts and pads to.
    padding: ``tokens``: patches of padding are places like any other, as in the reference; ``valid``: patches wholly
    beyond ``<field>.length`` are padding, hidden from attention and never scored. field: the batch's field,
    (B, frames, bins) floating point, already normalised.
    """

    def __init__(
        self, *, patch: Sequence[int] = (16, 16), bins: int = 128, frames: int = 1024, padding: str = "tokens",
        field: str = "features",
    ) -> None:
        if len(patch) != 2 or padding not in ("tokens", "valid"):
            raise RecipeError(f"patch {tuple(patch)} is (bins, frames), padding '{padding}' tokens or valid")
        self.patch, self.bins, self.frames = (int(patch[0]), int(patch[1])), bins, frames
        self.grid = grid_shape((bins, frames), self.patch)
        self.dim, self.in_chans, self.field, self.padding = self.patch[0] * self.patch[1], 1, field, padding

    def layout(self, batch: Batch) -> Layout:
        """A (bins, frames) grid of places. Raises RecipeError for spectrograms of another shape."""
        shape = tuple(batch[self.field].shape)
        if len(shape) != 3 or shape[1:] != (self.frames, self.bins):
            raise RecipeError(
                f"field '{self.field}' is {shape}; the model takes (B, {self.frames}, {self.bins})",
                hint="decode with the tokenizer's frames and bins, and pad = true",
            )
        valid, name = None, f"{self.field}.length"
        if self.padding == "valid" and name in batch.fields and not batch[name].is_meta:
            starts = torch.arange(self.grid[1], device=batch[name].device) * self.patch[1]
            columns = starts[None] < batch[name][:, None]
            valid = columns[:, None].expand(-1, self.grid[0], -1).flatten(1)
            valid = None if bool(valid.all()) else valid
        return Layout(shape[0], self.grid[0] * self.grid[1], grid=self.grid, valid=valid, unit=self.patch)

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, N, bins·frames of a patch)."""
        layout = self.layout(batch)
        return Tokens(layout, patchify(batch[self.field].transpose(1, 2)[:, None], self.patch))

    def picture(self, values: Tensor, layout: Layout) -> Tensor:
        """The inverse: (B, N, D) -> (B, bins, frames): what a spectrogram shows."""
        return unpatchify(values, self.grid, self.patch, 1)[:, 0]

    def example(self, count: int) -> dict[str, Tensor]:
        """Spectrograms of noise, from torch's generator: what an export is compared on."""
        return {self.field: torch.randn(count, self.frames, self.bins)}
