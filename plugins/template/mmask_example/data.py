"""Sample data, and how a stored sample becomes a tensor."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmask.api import Keys, Sample, SampleError


def samples() -> dict[str, list[str]]:
    """The shards that lie in the wheel: split -> URLs. Used when no ``--data`` is given."""
    folder = Path(str(files("mmask_example"))) / "samples"
    return {split: [str(path) for path in sorted(folder.glob(f"{split}-*.tar"))] for split in ("train", "val")}


class WaveDecoder:
    """The part ``npy`` of a sample as float32 in about [-1, 1].

    length: values kept; a longer signal is cut at a random start while training, at its start otherwise.
    """

    def __init__(self, *, length: int = 128) -> None:
        self.length = length

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``wave``: (length,) float32. keys: one row, None in evaluation."""
        try:
            stored = np.load(io.BytesIO(sample.parts["npy"]), allow_pickle=False)
        except (KeyError, ValueError, EOFError) as error:
            raise SampleError(f"{sample.id}: no readable npy part ({error})") from error
        if stored.ndim != 1 or len(stored) < self.length:
            raise SampleError(f"{sample.id}: shape {stored.shape} is no signal of {self.length} values")
        spare = len(stored) - self.length
        start = 0 if keys is None or spare == 0 else int(keys.integers("crop", 1, 0, spare + 1)[0, 0])
        wave = torch.from_numpy(stored[start : start + self.length].astype(np.float32) / 32768)
        return {"wave": wave, "augment.start": np.array([start], np.float64)}
