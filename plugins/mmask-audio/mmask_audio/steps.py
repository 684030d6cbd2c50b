"""Recordings read whole, and the states of an encoder as steps in time."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmask.api import Batch, DataError, Encoded, Layout

WHOLE: dict[str, Any] = {"whole": True, "min_seconds": 0.0, "min_frames": 1}
"""Options of decoders: a crop does not say what its transcript says."""


def steps(encoded: Encoded, batch: Batch, taps: tuple[str, ...] = ()) -> tuple[list[Tensor], Tensor]:
    """States (B, T, D) in the order of time, of every tap or else the last ones, and (B,) int64 steps that are real.

    Of a grid of bands by frames, the bands of a step are averaged, and steps beyond the recording are not real, be
    they padding to the network or not. Raises DataError for a network without one row of states for each sample.
    """
    layout = encoded.layout
    if encoded.state is None or encoded.cu_seqlens is not None or layout.index is not None:
        raise DataError("steps in time are read from one padded row of states a recording; this network has none")
    found = [encoded.taps[tap][:, encoded.prefix :] for tap in taps] if taps else [encoded.places]
    if layout.grid is None:
        return found, layout.lengths()
    if len(layout.grid) != 2 or layout.unit is None:
        raise DataError(f"a grid of {layout.grid} is not one of bands by frames")
    return [states.unflatten(1, layout.grid).mean(1) for states in found], _columns(layout, batch)


def _columns(layout: Layout, batch: Batch) -> Tensor:
    """(B,) columns that the recording reaches into."""
    assert layout.grid is not None and layout.unit is not None
    columns, frames = layout.grid[1], layout.unit[1]
    for name, value in batch.fields.items():
        known = f"{name}.length"
        if known in batch.fields and value.ndim == 3 and value.shape[1] == columns * frames:
            return (batch[known].cpu() + frames - 1).div(frames, rounding_mode="floor").clamp_max(columns)
    return layout.lengths() // layout.grid[0]
