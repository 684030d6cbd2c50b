"""The loader: the canonical stream, cut into global batches, dealt to ranks and workers, decoded, stacked.

Step k holds global positions start + kB up to start + (k+1)B on every topology. Group number p div g of them
belongs to rank (p div g) mod R and, there, to worker (p div gR) mod W: when g·R·W divides the C canonical
streams, each reader owns C/(RW) streams and no byte is read twice.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmask.data.bundle import ROWS, Bundles, Rule, bundles_of, check_rule, offsets
from mmask.data.collate import collate, merge, split_augment
from mmask.data.faults import Fault, Ledger
from mmask.data.part import Maker, Makes, Part
from mmask.data.share import Share, check_topology
from mmask.data.worker import Worker
from mmask.types import Batch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from mmask.data.stream import Stream
    from mmask.protocols import Decoder

_ENDLESS = 1 << 62  # steps; a range crosses to other processes, a counter does not


class Loader:
    """This rank's part of every global batch.

    stream: the samples in canonical order. decode: decoders by name, run in order on each sample.
    batch_size: B, samples of a step over all ranks; ``group * world`` must divide it. workers: processes that
    decode (0: in this process, with the same batches). worker_start: how they begin (`mmask.data.worker.Worker`).
    start: the global position to begin at; beginning there costs the same wherever it is. group: so many consecutive
    positions stay together. fault_budget, ledger: see `mmask.data.faults`. evaluate: one pass in stored order, without
    augmentation or substitutes; ``limit`` then takes so many samples evenly from it. In training ``limit`` is the
    number of positions after which the loader ends; without it, it never does. rule: samples of closed windows are
    served as packs or buckets (`mmask.data.bundle`); then B and positions count packs, or samples of buckets.
    trail: the file that remembers where windows begin.

    Iterating yields `mmask.types.Batch`; ``wait`` is the time spent waiting for data since it was last read.
    """

    def __init__(
        self,
        stream: Stream,
        decode: Mapping[str, Decoder],
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        start: int = 0,
        seed: int = 0,
        group: int = 1,
        fault_budget: float = 0.01,
        ledger: Path | None = None,
        evaluate: bool = False,
        limit: int | None = None,
        rule: Rule | None = None,
        trail: Path | None = None,
        worker_start: str = "auto",
    ) -> None:
        rule = None if evaluate else rule
        if rule is not None:
            group = check_rule(rule, group)
        check_topology(batch_size, rank, world, workers=workers, group=group, start=start)
        self.stream, self.seed, self.evaluate = stream, seed, evaluate
        self.batch_size, self.rank, self.world, self.workers, self.group = (
            batch_size,
            rank,
            world,
            workers,
            group,
        )
        self.position, self._worker_start = start, worker_start
        self._limit = limit
        self._ragged = frozenset(name for one in decode.values() for name in getattr(one, "ragged", ()))
        self._maker: Makes = Maker(stream, decode, seed, evaluate)
        self._rule, self._rows = rule, 0
        if rule is not None:
            self._ragged |= {rule.by}
            plain = Maker(stream, decode, seed, evaluate)
            self._maker = bundles_of(plain, rule, self._ragged, batch=batch_size, path=trail)
        self._ledger = Ledger(
            ledger, fault_budget, short=len(stream), rank=rank, world=world, group=group, evaluate=evaluate
        )
        self._end = self._last(start, limit)
        self._wait = 0.0
        self._running: list[Worker] = []
        self._thread: ThreadPoolExecutor | None = None
        self._next: Future[Batch | None] | None = None

    def _last(self, start: int, limit: int | None) -> int | None:
        if self.evaluate:
            return len(self.stream) if limit is None else min(limit, len(self.stream))
        return None if limit is None else start + limit

    @property
    def wait(self) -> float:
        """Seconds spent waiting for data since this was last asked."""
        waited, self._wait = self._wait, 0.0
        return waited

    @property
    def faults(self) -> list[Fault]:
        """What could not be read so far."""
        return self._ledger.faults()

    def __len__(self) -> int:
        """Steps from the start to the end; only a loader that ends has a length."""
        if self._end is None:
            raise TypeError("a training loader without a limit has no end")
        return max(0, -(-(self._end - self.position) // self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        """Batches from ``position`` on; an evaluation begins anew each time."""
        if self.evaluate:
            self.position = 0
        self._note_torn()
        share = Share(
            self.batch_size,
            self.rank,
            self.world,
            self.group,
            self.position,
            self._end,
            spread=len(self.stream) if self.evaluate and self._limit else 0,
        )
        try:
            for batch in self._ahead(share) if self.workers else self._made(share):
                self.position += self.batch_size
                if batch is not None:
                    yield batch
        finally:
            self.close()

    def _made(self, share: Share) -> Iterator[Batch | None]:
        """Batches made when they are asked for."""
        for step in self._steps():
            begun = time.perf_counter()
            batch = self._assemble(share, step)
            self._wait += time.perf_counter() - begun
            yield batch

    def _ahead(self, share: Share) -> Iterator[Batch | None]:
        """Batches put together by a thread, one ahead, from what the workers decode."""
        self._start(share)
        steps = self._steps()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mmask-batch")
        for step in steps:
            begun = time.perf_counter()
            if self._next is None:
                self._next = self._thread.submit(self._assemble, share, step)
            batch = self._next.result()
            self._wait += time.perf_counter() - begun
            last = self._end is not None and step == steps[-1]
            self._next = None if last else self._thread.submit(self._assemble, share, step + 1)
            yield batch

    def _steps(self) -> range:
        return range(_ENDLESS if self._end is None else len(self))

    def _start(self, share: Share) -> None:
        inherited: list[Connection] = []
        atexit.register(self.close)  # runs before multiprocessing's own exit, which would wait for workers
        for number in range(self.workers):
            mine = replace(share, workers=self.workers, worker=number)
            self._running.append(Worker(number, self._maker, mine, self._steps(), inherited, self._worker_start))

    def _assemble(self, share: Share, step: int) -> Batch | None:
        wanted = share(step)
        if not len(wanted):
            return None
        if self._running:
            parts, fields = self._gather(share, step)
        else:
            part = self._maker.part(wanted)
            parts, fields = [part], collate(part.columns, self._ragged) if part.positions else {}
        faults = [fault for part in parts for fault in part.faults]
        if isinstance(self._maker, Bundles):
            self._maker.trail.add(one for part in parts for one in part.opened)
            self._rows += sum(len(part.positions) for part in parts)
            self._ledger.density = self._rows * self.world / ((step + 1) * share.batch)
        if faults:
            faults.sort(key=lambda fault: (fault.position, fault.attempt))
            self._ledger.add(faults, share.start + (step + 1) * share.batch)
        return self._batch(parts, fields) if fields or any(part.positions for part in parts) else None

    def _gather(self, share: Share, step: int) -> tuple[list[Part], dict[str, Any]]:
        """Every worker's part of a step, merged by position."""
        taken = []
        for worker in self._running:
            if len(worker.positions(step)):
                taken.append((worker, *worker.take(step)))
        parts = [part for _, part, _, _ in taken]
        order = np.sort(np.concatenate([np.array(part.positions, np.int64) for part in parts]))
        pieces = [
            (torch.from_numpy(np.searchsorted(order, part.positions)), made)
            for _, part, made, _ in taken
            if part.positions
        ]
        fields = merge(pieces, len(order), self._ragged) if pieces else {}
        for worker, _, _, slot in taken:
            worker.release(slot)
        return parts, fields

    def _batch(self, parts: list[Part], fields: dict[str, Any]) -> Batch:
        position = np.concatenate([np.array(part.positions, np.int64) for part in parts])
        order = np.argsort(position, kind="stable")
        names = [name for part in parts for name in part.names]
        plain, augment = split_augment(fields)
        first = int(position[order[0]])
        if self._rule is not None:
            first = first // ROWS * self._rule.size
            epoch = [epoch for part in parts for epoch in part.epochs][order[0]]
        else:
            epoch = first // len(self.stream)
        return Batch(
            fields=plain,
            ids=np.concatenate([np.array(part.ids, np.uint64) for part in parts])[order],
            visits=np.concatenate([np.array(part.visits, np.int64) for part in parts])[order],
            names=tuple(names[row] for row in order.tolist()),
            epoch=0 if self.evaluate else epoch,
            position=first,
            augment=augment,
            packs=offsets(position[order]) if self._rule is not None and self._rule.length else None,
        )

    def _note_torn(self) -> None:
        """Shards whose end is lost go to the ledger too; the first rank writes them."""
        if self.rank:
            return
        torn = [
            Fault(source.name, shard, "", one.offset, f"{one.kind}: {one.detail}", epoch=-1)
            for source in self.stream.sources
            for shard, one in source.lost
        ]
        self._ledger.add(torn, self.position)

    def close(self) -> None:
        """End the workers. The loader can be iterated again."""
        workers, self._running = self._running, []
        atexit.unregister(self.close)
        for worker in workers:
            worker.stop()
        thread, self._thread, pending, self._next = self._thread, None, self._next, None
        if thread is not None:
            if pending is not None:
                wait([pending], timeout=1.0)
            for worker in workers:
                worker.kill()  # a thread that waits for one is woken by its end
            thread.shutdown()
        for worker in workers:
            worker.end()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
