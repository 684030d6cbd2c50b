"""The run folder: where everything of a run lies, and who may write there."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmask.errors import CheckpointError, UsageError

_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run.

        recipe.toml  env.json  metrics.jsonl  stamps.u64  ledger.jsonl  report.html
        checkpoints/step-XXXXXXXX/  figures/step-XXXXXX.png  nonfinite/  events.out.tfevents...
        assets/<digest>/<name>, the files that the recipe names
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def ledger(self) -> Path:
        """Samples that could not be used."""
        return self.path / "ledger.jsonl"

    @property
    def stamps(self) -> Path:
        """The stamp of every step."""
        return self.path / "stamps.u64"

    @property
    def figures(self) -> Path:
        """Pictures of the health points."""
        return self.path / "figures"

    @property
    def begun(self) -> bool:
        """Whether a run did a step here; one that failed before that may be replaced."""
        trained = self.metrics.exists() and self.metrics.stat().st_size > 0
        return self.recipe.exists() and (trained or any(self.checkpoints.glob("step-*")))

    def lock(self) -> int:
        """Keep other processes out; the handle is held for the life of the run.

        Raises UsageError when another process writes here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise UsageError(
                f"another process is writing in {self.path}", hint="wait for it, or choose another --out"
            ) from None
        return handle

    def write_env(self, **more: Any) -> None:
        """``env.json``: machine and versions, and one entry in ``starts`` for each time the run was started."""
        path = self.path / "env.json"
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
        now = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "command": sys.argv, **more}
        env = {**environment(), "starts": [*before.get("starts", []), now]}
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(env, indent=1), encoding="utf-8")
        aside.replace(path)

    def starts(self) -> list[dict[str, Any]]:
        """The ``starts`` of ``env.json``."""
        try:
            return list(json.loads((self.path / "env.json").read_text(encoding="utf-8")).get("starts", []))
        except (OSError, ValueError):
            return []


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A run that cannot write in its folder (a full disk, a folder taken away) ends with a CheckpointError."""
    try:
        yield
    except OSError as error:
        here = error.filename is not None and Path(os.fsdecode(error.filename)).is_relative_to(folder)
        if not here and error.errno not in _STORAGE:
            raise
        raise CheckpointError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            hint="make room, then run the same command: it goes on from the last checkpoint that is whole",
        ) from error


def cut_ledger(path: Path, position: int) -> None:
    """Drop what a ledger says about global positions from ``position`` on: they are read again. What it says of
    held-out samples (epoch -1) stays: their positions are others."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if _ledger_position(line) < position]
    if len(kept) < len(lines):
        aside = path.with_suffix(".tmp")
        aside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        aside.replace(path)


def cut_files(run: RunFolder, steps: int) -> None:
    """Remove the pictures and the dumps of steps that are not done, of which ``steps`` are: they are done again, maybe
    with other health points. Pictures count steps done, dumps name the step itself, from 0."""
    for folder, first in ((run.figures, steps + 1), (run.path / "nonfinite", steps)):
        for file in folder.glob("step-*"):
            number = file.stem.split("-")[1]
            if number.isdecimal() and int(number) >= first:
                file.unlink(missing_ok=True)


def _ledger_position(line: str) -> float:
    try:
        told = json.loads(line)
        return -1.0 if told.get("epoch", 0) < 0 else float(told.get("position", -1))
    except (ValueError, TypeError, AttributeError):
        return math.inf  # half a line that a killed run left


def environment() -> dict[str, Any]:
    """What a result depends on beside the recipe."""
    from mmask.recipe.freeze import versions

    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "packages": versions(), "platform": platform.platform(), "machine": platform.machine(),
        "cpus": os.cpu_count(), "threads": torch.get_num_threads(), "gpus": cuda,
        "cuda": torch.version.cuda if cuda else None,
    }


def default_out(name: str, root: Path = Path("runs")) -> Path:
    """``runs/<recipe>-<n>``, the first number that is free."""
    n = 1
    while (root / f"{name}-{n}").exists():
        n += 1
    return root / f"{name}-{n}"
