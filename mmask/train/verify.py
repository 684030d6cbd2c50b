"""verify-resume: draw a run's samples and plans again, and compare them with what the run used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmask.errors import CheckpointError
from mmask.protocols import ScoredMasker
from mmask.train.build import build_planner
from mmask.train.checkpoint import list_steps, load_state
from mmask.train.folder import RunFolder
from mmask.train.ranks import Ranks
from mmask.train.revive import load_resolved
from mmask.train.source import TRAIL, StreamReader
from mmask.train.stamp import START, chain, read_stamps, stamp

if TYPE_CHECKING:
    import numpy as np

    from mmask.plugin.host import Host
    from mmask.train.model import MaskedModel

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """checked: steps drawn again. first: the first step that differs (from 1), or 0. resumes: steps at which
    the run was started again."""

    checked: int
    first: int
    resumes: tuple[int, ...]


def verify(run: Path, host: Host, *, around: int = 20, everything: bool = False, tell: Tell) -> Verdict:
    """Check the first and last ``around`` steps of a run and those around each resume, or ``everything``.

    A window is read in one go, across the resume; a second reader that begins right at the resume must give
    the same. Raises CheckpointError when the stamps do not fit the checkpoint they belong to.
    """
    folder, resolved = RunFolder(run), load_resolved(run, host)
    stamps = read_stamps(folder.stamps)
    steps = len(stamps)
    if not steps:
        raise CheckpointError(f"{run} has no stamps of steps", hint="was it trained at all?")
    _check_chain(folder, stamps)
    recipe = resolved.recipe
    planner = build_planner(recipe, host)
    if any(isinstance(maker.masker, ScoredMasker) for maker in planner.maskers.values()):
        raise CheckpointError(
            "this recipe's plans depend on the model, so they cannot be drawn without training",
            hint="compare metrics.jsonl of two runs instead",
        )
    resumes = tuple(sorted({int(s["step"]) for s in folder.starts() if 0 < int(s.get("step", 0)) < steps}))
    reader = StreamReader(recipe, host, Ranks(), trail=run / TRAIL)
    checked = 0
    try:
        for first, last in windows(steps, resumes, around, everything):
            begins = [first, *(r for r in resumes if first < r < last)]
            for begin in begins:
                tell(f"steps {begin + 1} to {last}")
                for step, found in _again(reader, planner, begin, last):
                    if found != int(stamps[step]):
                        return Verdict(checked, step + 1, resumes)
                    checked += begin == first
    finally:
        reader.close()
    return Verdict(checked, 0, resumes)


def windows(steps: int, resumes: tuple[int, ...], around: int, everything: bool) -> list[tuple[int, int]]:
    """[first, last) steps to check, joined where they touch."""
    if everything:
        return [(0, steps)]
    marks = [0, *resumes, steps]
    spans = sorted((max(0, mark - around), min(steps, mark + around)) for mark in marks)
    out: list[tuple[int, int]] = []
    for first, last in spans:
        if out and first <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return out


def _again(reader: StreamReader, planner: MaskedModel, first: int, last: int) -> Iterator[tuple[int, int]]:
    batches = reader.train(first)
    for step in range(first, last):
        yield step, stamp(planner.draw(next(batches), step=step))
    reader.close()


def _check_chain(folder: RunFolder, stamps: np.ndarray) -> None:
    """The file of stamps belongs to the newest checkpoint: their chains agree."""
    for path in list_steps(folder.checkpoints):
        state = load_state(path)
        step, chained = int(state["step"]), START
        if step > len(stamps):
            raise CheckpointError(f"{folder.stamps} ends before the checkpoint of step {step}")
        for number in range(step):
            chained = chain(chained, number, int(stamps[number]))
        if f"{chained:016x}" != state["stamp"]:
            raise CheckpointError(f"{folder.stamps} does not belong to the checkpoint {path.name}")
        return
