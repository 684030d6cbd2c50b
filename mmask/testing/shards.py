"""Tiny shards for tests: plain WebDataset tars of arrays."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


def tiny_shards(
    folder: Path, *, shards: int = 2, samples: int = 8, parts: Callable[[int], Mapping[str, bytes]] | None = None,
    prefix: str = "train",
) -> str:
    """Write ``shards`` tars of ``samples`` samples each and return their URL, braces and all.

    parts: number of a sample -> extension -> bytes; by default ``npy``, 16 float32 values that are a
    function of the number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{prefix}-{shard:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(shard * samples, (shard + 1) * samples):
                for ext, data in (parts or _arrays)(number).items():
                    member = tarfile.TarInfo(f"{number:05d}.{ext}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    numbers = "000" if shards == 1 else f"{{000..{shards - 1:03d}}}"
    return str(folder / f"{prefix}-{numbers}.tar")


def _arrays(number: int) -> dict[str, bytes]:
    stored = io.BytesIO()
    np.save(stored, np.sin(np.arange(16, dtype=np.float32) * (number + 1)), allow_pickle=False)
    return {"npy": stored.getvalue()}
