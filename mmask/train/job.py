"""Job: what the user asked for, and the folder it happens in."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmask.errors import UsageError
from mmask.recipe.freeze import write as write_recipe
from mmask.recipe.resolve import Resolved
from mmask.recipe.schema import Recipe
from mmask.train.again import check_resume, check_same, differences, own_origins
from mmask.train.folder import RunFolder, default_out
from mmask.train.ranks import Ranks
from mmask.train.reader import Reader

if TYPE_CHECKING:
    from mmask.plugin.host import Host

OpenReader = Callable[[Recipe, "Host", Ranks, Path, int], Reader]


def _of_shards(recipe: Recipe, host: Host, ranks: Ranks, ledger: Path, group: int) -> Reader:
    from mmask.train.source import StreamReader

    return StreamReader(recipe, host, ranks, ledger=ledger, group=group)


@dataclass(frozen=True)
class Job:
    """What the user asked for.

    out: the run's folder; None makes ``runs/<recipe>-<n>``. init: weights to start from, each over those
    before it. stop_after: end early after this step. resume: the folder must hold a run, whose settings may change.
    open_reader: where samples come from; shards unless a test says otherwise.
    """

    resolved: Resolved
    host: Host
    out: Path | None = None
    init: tuple[str, ...] = ()
    stop_after: int | None = None
    resume: bool = False
    open_reader: OpenReader = _of_shards


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What hooks see of a run."""

    out: Path
    rank: int
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: ``done``, ``stopped`` or ``preempted``, after ``step`` steps."""

    outcome: str
    step: int
    out: Path


def open_folder(job: Job, ranks: Ranks, stack: ExitStack) -> tuple[RunFolder, list[str]]:
    """Rank 0 finds the folder, keeps others out, and checks that it is this run's. -> it, what changed."""
    lines: list[str] = []
    path = str(job.out or default_out(job.resolved.recipe.name)) if ranks.first else ""
    folder = RunFolder(Path(ranks.share(path)))
    if ranks.first:
        if job.resume and not folder.recipe.exists():
            raise UsageError(f"{folder.path} is no run to resume", hint="--resume takes a folder that train wrote")
        found = differences(folder.path, job.resolved, job.host) if folder.begun else {}
        lines = check_resume(folder.path, found) if job.resume else check_same(folder.path, found)
        try:
            stack.callback(os.close, folder.lock())
            if found or not folder.begun:
                write_recipe(own_origins(job.resolved, folder.recipe), folder.recipe, job.host)
        except OSError as error:
            why = f"{folder.path} cannot be written: {error.strerror}"
            raise UsageError(why, hint="choose another --out") from error
    ranks.barrier()
    return folder, lines
