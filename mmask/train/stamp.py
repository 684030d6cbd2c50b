"""Stamps: a 64-bit fingerprint of the samples, augmentations and plans of each step, chained over steps.

Hashes what was decided (ids, visits, augmentation numbers, plans), not pixels. The stamp of a step is a sum
over its samples, so it is the same however they are spread over ranks and micro-batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.keyed import fold, mix, word
from mmask.train.scene import BatchPlans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.types import MaskPlan

_ODD = np.uint64(0x9E3779B97F4A7C15)
START = 0


def stamp(plans: BatchPlans) -> int:
    """The stamp of these samples: the sum of one hash a sample, modulo 2**64."""
    batch = plans.batch
    with np.errstate(over="ignore"):
        rows = mix(batch.ids.astype(np.uint64) * _ODD + batch.visits.astype(np.uint64))
        for name, table in sorted(_tables(plans)):
            rows = mix(rows * _ODD + _rows(table) + np.uint64(word(name)))
        return int(rows.sum(dtype=np.uint64)) if len(rows) else 0


def chain(before: int, step: int, now: int) -> int:
    """The stamp of all steps up to ``step``, from that of the steps before it and that of this one."""
    return fold(before, step, now)


def _tables(plans: BatchPlans) -> Iterator[tuple[str, NDArray[np.uint64]]]:
    for name, numbers in plans.batch.augment.items():
        yield f"augment.{name}", _words(np.asarray(numbers))
    for plan_name, table in plans.plans.items():
        for stream, plan in table.items():
            label = f"plan.{plan_name}.{stream}"
            yield f"{label}.hidden", _words(np.packbits(plan.hidden.numpy(), axis=1))
            yield f"{label}.keep", _words(_tight(plan))
            for part, value in _parts(plan):
                yield f"{label}.{part}", _words(value)


def _parts(plan: MaskPlan) -> Iterator[tuple[str, NDArray[Any]]]:
    """What a plan says beside the places it hides, with 0 at padding."""
    for part in ("action", "cells"):
        value = getattr(plan, part)
        if value is not None:
            yield part, value.cpu().numpy()
    if plan.source is not None:
        source, valid = plan.source.cpu().numpy() + 1, plan.layout.valid
        yield "source", source if valid is None else np.where(valid.cpu().numpy(), source, 0)
    if plan.edit is not None:
        yield "edit", plan.edit.cpu().numpy() + 2  # padding is -2
    for name, tensor in plan.extra.items():
        yield f"extra.{name}", tensor.cpu().numpy()


def _tight(plan: Any) -> NDArray[Any]:
    """Kept places with padding blanked: its width depends on the other samples of the batch."""
    keep = plan.keep_idx.cpu().numpy() + 1
    kept = plan.kept
    return keep if kept is None else np.where(kept.numpy(), keep, 0)


def _words(values: NDArray[Any]) -> NDArray[np.uint64]:
    """(B, ...) numbers -> (B, P) words with the same bits."""
    flat = values.reshape(len(values), -1) if len(values) else values.reshape(0, 1)
    if flat.dtype.kind == "f":
        return flat.astype(np.float64).view(np.uint64)
    return flat.astype(np.int64).view(np.uint64)


def _rows(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(B, P) words -> (B,): order-sensitive, and blind to trailing zeros (padding)."""
    place = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _ODD
    with np.errstate(over="ignore"):
        return np.where(words == 0, np.uint64(0), mix(words + place)).sum(1, dtype=np.uint64)


class StampFile:
    """``stamps.u64``: the stamp of every step, 8 bytes each, little-endian, in order.

    Lets ``mmask verify-resume`` name the first step that differs. ``writes`` is False on all ranks but 0.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._waiting = bytearray()

    def add(self, stamp: int) -> None:
        """One more step; on disk after the next `flush`."""
        if self.writes:
            self._waiting += stamp.to_bytes(8, "little")

    def flush(self) -> None:
        """Append what is waiting."""
        if self._waiting:
            with self.path.open("ab") as file:
                file.write(self._waiting)
            self._waiting.clear()

    def cut(self, steps: int) -> None:
        """Keep the first ``steps`` stamps."""
        if self.writes and self.path.exists() and self.path.stat().st_size > 8 * steps:
            with self.path.open("r+b") as file:
                file.truncate(8 * steps)


def read_stamps(path: Path) -> NDArray[np.uint64]:
    """(steps,) uint64; empty when there is no file."""
    data = path.read_bytes() if path.exists() else b""
    return np.frombuffer(data[: len(data) // 8 * 8], "<u8")
