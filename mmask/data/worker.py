"""Loader workers: processes that read and decode their positions of every step, a few steps ahead.

Which positions a worker has follows from its number alone, so nothing is handed out: a worker computes its
part of step after step, writes it into a free slab and says so; the training process gives the slab back
when it has copied the part. Whatever goes wrong on one side ends the other: a dead worker is an error in
the training process, and a worker whose training process is gone goes too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from mmask.data.part import Makes, Part
from mmask.data.slab import Slab
from mmask.errors import DataError, MmaskError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Positions = Callable[[int], "NDArray[np.int64]"]  # step -> the worker's positions of it
DEPTH = 3  # slabs of a worker: one being read, one ready, one being written
_STOP = -1
_ALIVE = 2.0  # seconds between looks at whether the training process still lives
_GRACE = 1.0  # seconds a worker gets to end by itself


class Worker:
    """The training process's side of one worker.

    method: ``fork``, ``spawn`` (a fresh process, to which maker and positions are pickled: what macOS has), or
    ``auto``, fork on Linux.
    """

    def __init__(
        self,
        number: int,
        maker: Makes,
        positions: Positions,
        steps: Iterable[int],
        inherited: list[Connection],
        method: str = "auto",
    ) -> None:
        if method == "auto":
            method = "fork" if sys.platform.startswith("linux") else "spawn"
        context: Any = multiprocessing.get_context(method)
        self.number, self.positions = number, positions
        self._slabs = [Slab() for _ in range(DEPTH)]
        self._ours, theirs = context.Pipe()
        slabs = [slab.fd if method == "fork" else _passed(slab.fd) for slab in self._slabs]
        close = [*inherited, self._ours] if method == "fork" else []
        self.process: BaseProcess = context.Process(
            target=_serve,
            args=(_Task(maker, positions, steps, os.getpid()), theirs, slabs, close),
            daemon=True,
            name=f"mmask-loader-{number}",
        )
        self.process.start()
        theirs.close()
        inherited.append(self._ours)

    def take(self, step: int) -> tuple[Part, dict[str, Any], int]:
        """The worker's part of ``step``: the part without its tensors, the tensors, and the slab they are in.

        Raises what the worker raised, or DataError when it is dead.
        """
        message = self._receive()
        if message[0] == "error":
            raise message[1]
        _, made, slot, part, packed, plain = message
        if made != step:
            raise DataError(f"loader worker {self.number} sent step {made} for step {step}")
        return part, {**self._slabs[slot].read(packed), **plain}, slot

    def release(self, slot: int) -> None:
        """The slab may be written again."""
        with suppress(OSError):  # it died: the next take says so
            self._ours.send(slot)

    def _receive(self) -> Any:
        try:
            if not self._ours.poll():
                wait([self._ours, self.process.sentinel])
            if self._ours.poll():
                return self._ours.recv()
        except (EOFError, OSError):
            pass
        self.process.join(_GRACE)
        raise DataError(
            f"loader worker {self.number} (process {self.process.pid}) died: {_why(self.process.exitcode)}",
            hint="often the machine ran out of memory: use fewer data.workers or a smaller batch",
        )

    def stop(self) -> None:
        """Ask it to end; `end` makes sure."""
        with suppress(OSError):
            self._ours.send(_STOP)

    def kill(self) -> None:
        """End it now. It holds nothing that could be lost."""
        self.process.kill()

    def end(self) -> None:
        """Wait a moment, then kill. A worker holds nothing that could be lost."""
        self._ours.close()
        self.process.join(_GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()
        for slab in self._slabs:
            slab.close()


def _passed(fd: int) -> Any:
    from multiprocessing import reduction

    return reduction.DupFd(fd)


def _why(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker does: make its ``positions`` of all ``steps``, for the process ``parent``."""

    maker: Makes
    positions: Positions
    steps: Iterable[int]
    parent: int


def _serve(task: _Task, pipe: Connection, fds: list[Any], close: list[Connection]) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process decides when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler signals the whole group; the run saves first
    for other in close:
        other.close()
    import torch

    torch.set_num_threads(1)
    task.maker.stream.reopen()
    slabs = [Slab(fd if isinstance(fd, int) else fd.detach()) for fd in fds]
    try:
        _steps(task, pipe, slabs)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except BaseException as error:
        _confess(pipe, error)
    finally:
        os._exit(0)  # no handler, buffer or thread inherited from the parent may run here


def _steps(task: _Task, pipe: Connection, slabs: list[Slab]) -> None:
    free = list(range(len(slabs)))
    for step in task.steps:
        while not free or pipe.poll():
            while not pipe.poll(_ALIVE):
                if os.getppid() != task.parent:
                    return
            slot = pipe.recv()
            if slot == _STOP:
                return
            free.append(slot)
        wanted = task.positions(step)
        if len(wanted):
            part = task.maker.part(wanted)
            slot = free.pop()
            packed, plain = slabs[slot].write(part.columns)
            part.columns = {}
            pipe.send(("part", step, slot, part, packed, plain))


def _confess(pipe: Connection, error: BaseException) -> None:
    if not isinstance(error, MmaskError):
        text = "".join(traceback.format_exception(error)).rstrip()
        error = DataError(f"a loader worker failed: {type(error).__name__}: {error}", hint=text.replace("\n", "\n  "))
    with suppress(OSError):
        pipe.send(("error", error))
