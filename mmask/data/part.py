"""What one reader makes of its positions of a step: decoded samples, and the faults met on the way."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmask.data.collate import as_value
from mmask.data.faults import Fault
from mmask.data.stream import ATTEMPTS, Located, Stream
from mmask.errors import DataError, MmaskError, SampleError
from mmask.keyed import single

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.data.trail import Opened
    from mmask.protocols import Decoder
    from mmask.types import Sample

_THREADS = 16  # range requests of one reader that are under way at once


@dataclass(slots=True)
class Part:
    """Decoded samples of some positions.

    columns: field -> one value (a tensor or an object) for each sample. positions, ids, visits, epochs,
    names: of the samples, in order of position. faults: what could not be used. opened: windows whose first
    bundle is here (`mmask.data.bundle`).
    """

    columns: dict[str, list[Any]] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    visits: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)

    def append(self, located: Located, sample: Sample, fields: Mapping[str, Any]) -> None:
        """Add one decoded sample. Raises DataError when its fields are not those of the others."""
        self.add(located.position, sample.id.digest(), located.visit, located.epoch, str(sample.id), fields)

    def add(
        self, position: int, identity: int, visit: int, epoch: int, name: str, fields: Mapping[str, Any]
    ) -> None:
        """The same from its parts. identity: the 64-bit hash of the sample's id."""
        if self.positions and fields.keys() != self.columns.keys():
            odd = sorted(fields.keys() ^ self.columns.keys())
            raise DataError(
                f"{name}: field '{odd[0]}' is in some samples and not in others",
                hint="decoders must return the same fields for every sample",
            )
        for column, value in fields.items():
            self.columns.setdefault(column, []).append(as_value(value))
        self.positions.append(position)
        self.ids.append(identity)
        self.visits.append(visit)
        self.epochs.append(epoch)
        self.names.append(name)


class Makes(Protocol):
    """What a reader needs: the part of its positions, from samples (`Maker`) or bundles (`mmask.data.bundle`)."""

    stream: Stream

    def part(self, positions: NDArray[np.int64]) -> Part:
        """The samples of these positions (m,)."""
        ...


class Maker:
    """Reads and decodes. The same object does it in the training process and in workers.

    stream: where samples come from. decode: decoders, run in order on each sample. seed: the run's.
    evaluate: stored order, no augmentation, and unreadable samples are left out instead of replaced.
    """

    def __init__(self, stream: Stream, decode: Mapping[str, Decoder], seed: int, evaluate: bool) -> None:
        self.stream, self.decode, self.seed, self.evaluate = stream, dict(decode), seed, evaluate
        self._pool: ThreadPoolExecutor | None = None

    def part(self, positions: NDArray[np.int64]) -> Part:
        """The samples of these positions (m,), or a DataError with the place where it went wrong."""
        where = self.stream.locate_stored if self.evaluate else self.stream.locate
        located = where(positions)
        part = Part()
        for at, (one, sample) in enumerate(zip(located, self._read_all(located), strict=True)):
            self._take(part, one, sample, at)
        return part

    def each(self, positions: NDArray[np.int64]) -> Iterator[tuple[Located, Sample, dict[str, Any]] | Fault]:
        """Each position's sample, decoded, or its fault: nothing takes an unreadable sample's place."""
        located = self.stream.locate(positions)
        for one, sample in zip(located, self._read_all(located), strict=True):
            try:
                if isinstance(sample, SampleError):
                    raise sample
                yield one, sample, self._decoded(sample)
            except SampleError as error:
                yield self._fault(one, 0, error)

    def _read_all(self, located: Sequence[Located]) -> Any:
        """Samples or SampleErrors, lazily; over a network several at once."""
        if not self.stream.remote or len(located) < 2:
            return map(self._read, located)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mmask-read")
        return self._pool.map(self._read, located)

    def _read(self, located: Located) -> Sample | SampleError:
        try:
            return self.stream.sample(located)
        except SampleError as error:
            return error

    def _take(self, part: Part, located: Located, sample: Sample | SampleError, at: int) -> None:
        lost = located
        for attempt in range(ATTEMPTS):
            if attempt:
                located = self.stream.substitute(lost, attempt)
                sample = self._read(located)
            try:
                if isinstance(sample, SampleError):
                    raise sample
                part.append(located, sample, self._decoded(sample))
                return
            except SampleError as error:
                part.faults.append(self._fault(located, attempt, error))
            if self.evaluate:
                return
        last = part.faults[-1]
        raise DataError(
            f"position {lost.position}: the sample and {ATTEMPTS - 1} substitutes are unusable; "
            f"the last, {last.source}:{last.shard}:{last.key}: {last.reason}",
            hint="the decoder does not fit these shards, or most of them are damaged",
        )

    def _decoded(self, sample: Sample) -> dict[str, Any]:
        keys = None if self.evaluate else single(self.seed, sample.id.digest(), sample.visit)
        found: dict[str, Any] = {}
        for name, decoder in self.decode.items():
            try:
                fields = decoder(sample, keys)
            except MmaskError:
                raise
            except Exception as error:
                raise DataError(
                    f"decoder '{name}' failed on {sample.id}: {type(error).__name__}: {error}",
                    hint=traceback.format_exc().rstrip().replace("\n", "\n  "),
                ) from error
            again = found.keys() & fields.keys()
            if again:
                raise DataError(f"decoder '{name}' makes field '{min(again)}', which another decoder made already")
            found.update(fields)
        return found

    def _fault(self, located: Located, attempt: int, error: SampleError) -> Fault:
        source = self.stream.sources[located.source]
        place = source.place(located.shard, located.row)
        return Fault(
            source.name,
            place.id.shard,
            place.id.key,
            place.offset,
            f"{error.message} ({error.hint})" if error.hint else error.message,
            -1 if self.evaluate else located.epoch,
            located.position,
            attempt,
        )
