"""What the data stage makes: a Sample read from a shard, and a Batch of decoded samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.errors import PlanError
from mmask.keyed import Keys

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SampleId:
    """The identity of a sample. Keys often restart in every tar, so the shard belongs to it."""

    source: str
    shard: str
    key: str

    def digest(self) -> int:
        """A stable 64-bit hash: what random draws are keyed by."""
        text = "\0".join((self.source, self.shard, self.key))
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def __str__(self) -> str:
        return f"{self.source}:{self.shard}:{self.key}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One undecoded sample.

    id: where it came from. visit: how often the run has met it before (the source's epoch, plus
    substitutes). parts: field name (file extension, WebDataset's convention) -> bytes as stored.
    """

    id: SampleId
    parts: Mapping[str, bytes]
    visit: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Decoded samples, stacked.

    fields: name -> tensor with B first, or a list of B values where stacking means nothing.
        A ragged field ``x`` is padded at its end and comes with ``x.length`` (B,) int64.
    ids: (B,) uint64 hashes of sample ids. visits: (B,) int64. names: readable ids for messages.
    epoch: the epoch of the first sample. position: the global position of the first sample.
    augment: name -> (B, P) numbers that describe the augmentation drawn, for fingerprints.
    packs: (P + 1,) int64 offsets where the packs of a packed batch begin, and B; None without packing. A pack is
        a run of samples that ranks and micro-batches never part; attention never crosses samples anyway.
    """

    fields: Mapping[str, Any]
    ids: np.ndarray
    visits: np.ndarray
    names: tuple[str, ...] = ()
    epoch: int = 0
    position: int = 0
    augment: Mapping[str, np.ndarray] = field(default_factory=dict)
    packs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise KeyError(f"the batch has no field '{name}'; it has {sorted(self.fields)}") from None

    def keys(self, seed: int, step: int = 0) -> Keys:
        """The keys that random draws for these samples use."""
        return Keys(seed, self.ids, self.visits, step)

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Batch:
        """The same batch with tensors on ``device``."""
        moved = {
            name: value.to(device, non_blocking=non_blocking) if hasattr(value, "to") else value
            for name, value in self.fields.items()
        }
        return replace(self, fields=moved)

    def with_field(self, name: str, value: Any) -> Batch:
        """The same batch with one field replaced: what a signal-site corruption returns."""
        return replace(self, fields={**self.fields, name: value})

    def rows(self, start: int, stop: int) -> Batch:
        """Samples ``start:stop``, for micro-batches. Raises PlanError when that parts a pack."""
        cut = {name: value[start:stop] for name, value in self.fields.items()}
        augment = {name: value[start:stop] for name, value in self.augment.items()}
        return replace(
            self, fields=cut, ids=self.ids[start:stop], visits=self.visits[start:stop],
            names=self.names[start:stop], position=self.position + start, augment=augment,
            packs=self._packs(start, stop),
        )

    def _packs(self, start: int, stop: int) -> np.ndarray | None:
        if self.packs is None:
            return None
        inside = self.packs[(self.packs >= start) & (self.packs <= stop)]
        if not len(inside) or inside[0] != start or inside[-1] != stop:
            raise PlanError(f"samples {start}:{stop} part a pack; packs begin at {self.packs.tolist()}")
        return inside - start

    def part(self, number: int, parts: int) -> slice:
        """The samples of micro-batch ``number`` of ``parts``, as equal as they can be; packs stay whole."""
        count = len(self) if self.packs is None else len(self.packs) - 1
        first, last = count * number // parts, count * (number + 1) // parts
        if self.packs is not None:
            first, last = int(self.packs[first]), int(self.packs[last])
        return slice(first, last)
