"""Writes the sample shards of the plugin: sums of two sine waves as 16-bit integers. Replace by your data."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).parent / "mmask_example" / "samples"


def wave(number: int, length: int = 128) -> np.ndarray:
    """One signal, a function of its number."""
    draw = np.random.default_rng(number)
    time = np.arange(length) / length
    parts = (np.sin(2 * np.pi * (draw.uniform(1, 8) * time + draw.uniform())) for _ in range(2))
    return (sum(parts) * 12000).astype(np.int16)


def write(path: Path, numbers: range) -> None:
    """One tar in WebDataset's form: ``key.ext``, here ``00001.npy``."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in numbers:
            stored = io.BytesIO()
            np.save(stored, wave(number), allow_pickle=False)
            member = tarfile.TarInfo(f"{number:05d}.npy")
            member.size = len(stored.getvalue())
            tar.addfile(member, io.BytesIO(stored.getvalue()))


if __name__ == "__main__":
    SAMPLES.mkdir(parents=True, exist_ok=True)
    write(SAMPLES / "train-000.tar", range(64))
    write(SAMPLES / "val-000.tar", range(1000, 1016))
