"""The quarantine ledger: what could not be read, where, why, and when that is too much."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mmask.errors import DataError, FaultBudgetError

_FULL_SHARE_FROM = 1000  # positions after which the budget counts what was served, not the epoch


@dataclass(frozen=True, slots=True)
class Fault:
    """One unreadable sample (or, with position -1, the torn end of a shard).

    offset: byte of its first part in the shard. epoch: -1 in an evaluation pass. attempt: 0 for
    the sample the order named, n for its n-th substitute.
    """

    source: str
    shard: str
    key: str
    offset: int
    reason: str
    epoch: int = -1
    position: int = -1
    attempt: int = 0


class Ledger:
    """Faults of a run, one JSON object a line in ``path``; none are written twice, on resume either.

    budget: the share of positions that may fail. short: positions of an epoch; before that many (at most
    1,000) were served, the share is taken of them, so that one early fault does not stop a run.
    """

    def __init__(
        self,
        path: Path | None,
        budget: float,
        *,
        short: int,
        rank: int = 0,
        world: int = 1,
        group: int = 1,
        evaluate: bool = False,
    ) -> None:
        self.path, self.budget = path, budget
        self._short = min(short, _FULL_SHARE_FROM)
        self._mine = (rank, world, group)
        self._evaluate = evaluate
        self.density = 1.0  # samples of a position: more than one where positions count packs
        self._seen: set[Fault] = set()
        if path is not None and path.exists():
            self._seen.update(read_ledger(path))

    def faults(self) -> list[Fault]:
        """All that are known, those of earlier runs in the same folder too."""
        return sorted(self._seen, key=lambda one: (one.position, one.attempt, one.source, one.shard, one.offset))

    def add(self, faults: Iterable[Fault], served: int) -> None:
        """Write new faults. ``served``: global positions done. Raises FaultBudgetError above the budget."""
        new = [fault for fault in dict.fromkeys(faults) if fault not in self._seen]
        if not new:
            return
        self._seen.update(new)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(asdict(fault)) + "\n" for fault in new)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, lines.encode())  # one write: ranks may share the file
            finally:
                os.close(descriptor)
        self._check(served)

    def _check(self, served: int) -> None:
        rank, world, group = self._mine
        if self._evaluate:  # positions of a pass may be spread, and a pass is short: all that failed count
            mine = [one for one in self._seen if one.position >= 0 and one.epoch < 0]
        else:
            mine = [
                one
                for one in self._seen
                if 0 <= one.position < served and one.epoch >= 0 and one.position // group % world == rank
            ]
        most = self.budget * max(served * self.density, self._short) / world
        if len(mine) <= most:
            return
        last = max(mine, key=lambda one: (one.position, one.attempt))
        where = f"\n  all of them: {self.path}" if self.path else ""
        raise FaultBudgetError(
            f"{len(mine)} samples of {int(served * self.density) // world} could not be used; "
            f"data.fault_budget {self.budget:g} allows {int(most)}\n"
            f"  last: {last.source}:{last.shard}:{last.key}: {last.reason}{where}",
            hint="look at the shards with `mmask data check`, or raise data.fault_budget",
        )


def read_ledger(path: Path) -> list[Fault]:
    """The faults in a ledger. A last line that a killed run left half written is dropped."""
    found = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        try:
            found.append(Fault(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines) - 1:
                break
            raise DataError(f"{path}, line {number + 1} is not a ledger entry: {error}") from error
    return found
