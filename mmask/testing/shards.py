"""Tiny shards for tests of what reads them, and a decoder that says what it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.errors import SampleError

if TYPE_CHECKING:
    from mmask.keyed import Keys
    from mmask.types import Sample

Parts = Mapping[str, Any]


def tiny_parts(shard: int, row: int) -> Parts:
    """A few bytes, a class and a JSON part: what `write_shards` stores unless told otherwise."""
    return {
        "bin": bytes([shard % 256, row % 256]) * (1 + row % 5),
        "cls": row % 3,
        "json": {"width": 100 + row},
    }


def write_shards(
    folder: Path, counts: Sequence[int], parts: Callable[[int, int], Parts] = tiny_parts, *, stem: str = "t"
) -> str:
    """Write ``counts[i]`` samples into ``<stem>-<i>.tar`` with webdataset's writer. -> the brace pattern.

    Keys restart in every tar, as they often do.
    """
    from webdataset.writer import TarWriter

    folder.mkdir(parents=True, exist_ok=True)
    for shard, count in enumerate(counts):
        with TarWriter(str(folder / f"{stem}-{shard:03d}.tar")) as writer:
            for row in range(count):
                writer.write({"__key__": f"{row:05d}", **parts(shard, row)})
    return str(folder / f"{stem}-{{000..{len(counts) - 1:03d}}}.tar")


def tiny_shards(
    folder: Path,
    *,
    shards: int = 2,
    samples: int = 8,
    parts: Callable[[int], Parts] | None = None,
    prefix: str = "train",
) -> str:
    """``shards`` tars of ``samples`` samples each. -> their URL, braces and all.

    parts: number of a sample -> extension -> value; by default ``npy``, 16 float32 values that are a
    function of the number.
    """
    made = parts or (lambda number: {"npy": np.sin(np.arange(16, dtype=np.float32) * (number + 1))})
    return write_shards(folder, [samples] * shards, lambda shard, row: made(shard * samples + row), stem=prefix)


class TinyDecoder:
    """Decodes `tiny_parts`: fixed-size and ragged fields, a list, an augmentation number.

    bad: keys ("00003") whose samples are unreadable, in every visit.
    """

    def __init__(self, bad: Sequence[str] = ()) -> None:
        self.bad = frozenset(bad)

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """As `mmask.protocols.Decoder`."""
        if sample.id.key in self.bad:
            raise SampleError(f"{sample.id} is on the list of bad samples")
        data = np.frombuffer(sample.parts["bin"], np.uint8)
        shift = keys.uniform("shift", 2)[0] if keys is not None else np.zeros(2)
        return {
            "pair": data[:2].astype(np.float32) + np.float32(shift[0]),
            "bytes": data.copy(),
            "key": sample.id.key,
            "label": int(sample.parts["cls"]),
            "augment.shift": shift,
        }
