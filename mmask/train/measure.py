"""Statistics of what a recipe's decoders make of shards: the numbers that normalisation needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mmask.data.collate import AUGMENT
from mmask.data.loader import Loader
from mmask.data.statistics import Statistics
from mmask.data.stream import Stream
from mmask.errors import DataError


@dataclass(frozen=True, slots=True)
class Measured:
    """fields: name -> `Statistics.report`. samples: read. faults: lines on what could not be read."""

    fields: dict[str, dict[str, Any]]
    samples: int
    faults: tuple[str, ...]


def measure(
    stream: Stream, decoders: Mapping[str, Any], *, limit: int | None = None, workers: int = 0,
    fault_budget: float = 0.01, done: Callable[[int], None] = lambda samples: None,
) -> Measured:
    """Decode a stream once, in evaluation form, and measure every field of numbers with an axis.

    A decoder that normalises offers ``raw()``, itself without normalisation, which is asked then. limit: at most so
    many samples, evenly spread. done: called with the samples since the last call.
    """
    plain = {name: one.raw() if hasattr(one, "raw") else one for name, one in decoders.items()}
    found: dict[str, Statistics] = {}
    samples = 0
    # one sample a batch: nothing is ever padded
    with Loader(
        stream, plain, batch_size=1, workers=workers, evaluate=True, limit=limit, fault_budget=fault_budget,
    ) as loader:
        for batch in loader:
            if not len(batch):
                continue
            samples += len(batch)
            for name, value in batch.fields.items():
                if isinstance(value, torch.Tensor) and value.ndim > 1 and not name.startswith(AUGMENT):
                    try:
                        found.setdefault(name, Statistics()).add(value[0])
                    except DataError as error:
                        raise DataError(f"{batch.names[0]}, '{name}': {error.message}", hint=error.hint) from error
            done(len(batch))
        faults = tuple(f"{one.shard}:{one.key}: {one.reason}" for one in loader.faults)
    return Measured({name: one.report() for name, one in found.items() if one.samples}, samples, faults)
