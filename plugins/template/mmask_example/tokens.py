"""Tokenizer: a signal cut into stretches of equal length."""

from __future__ import annotations

from mmask.api import Batch, Layout, RecipeError, Tokens


class StretchTokenizer:
    """Stretches of a signal, in order; a stretch's values are its token.

    length: values of a signal. size: values of a stretch; divides the length. field: the batch's field.
    Core parts that are wired to a tokenizer read ``grid`` (places) and ``dim`` (values of one).
    """

    def __init__(self, *, length: int = 128, size: int = 8, field: str = "wave") -> None:
        if length % size:
            raise RecipeError(f"a signal of {length} values cannot be cut into stretches of {size}")
        self.size, self.field, self.dim = size, field, size
        self.grid = (length // size,)

    def layout(self, batch: Batch) -> Layout:
        """A line of places."""
        count, length = batch[self.field].shape
        if length != self.grid[0] * self.size:
            raise RecipeError(f"signals have {length} values, the model was built for {self.grid[0] * self.size}")
        return Layout(count, self.grid[0], grid=self.grid, unit=(self.size,))

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, N, size)."""
        layout = self.layout(batch)
        return Tokens(layout, batch[self.field].reshape(layout.batch, layout.length, self.size))
