"""Several ranks in a test: processes of one gloo group on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def on_ranks(work: Callable[..., None], *args: Any, world: int = 2) -> None:
    """``work(rank, *args)`` in ``world`` fresh processes that form a gloo group, on one thread each.

    work: a function of a module, which leaves what it found in files. Raises what a rank raised. The processes meet in
    a file, so no port is taken, and end without being taken down: gloo's threads can abort one that has finished.
    """
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (work, world, str(Path(folder) / "meet"), args), nprocs=world)


def _rank(rank: int, work: Callable[..., None], world: int, meet: str, args: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=world)
    work(rank, *args)
    dist.barrier()  # a rank that leaves first takes the connections with it
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
