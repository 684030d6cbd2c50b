"""Questions about the sample clips of the video plugin, made of what is known about them, as lines of JSON.

    what    "what is it ?": one of eight kinds, told by the emoji's subgroup
    is it   "is it a heart ?": every clip is asked for its own kind once, and once for another. Each kind is asked
            for with equally many clips of it and of others, so the words of a question tell nothing about its answer

Kinds that have many clips are cut to ``most`` of them, so that no answer is right for nearly all. The rest of the
metadata, names and tags, is not asked about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

KINDS = {
    "a person": ("person", "family"), "a face": ("face-", "cat-face", "monkey-face"), "an animal": ("animal-",),
    "a hand": ("hand",), "a vehicle": ("transport-",), "a heart": ("heart",), "a clock": ("time",),
    "weather": ("sky-",),
}
CHECKS = ("yes", "no")


def kind_of(subgroup: str) -> str:
    """Of KINDS; "" for the few clips that are of none."""
    return next((kind for kind, starts in KINDS.items() if subgroup.startswith(starts)), "")


def others(kinds: Sequence[str], seed: int) -> list[str]:
    """The same kinds in an order in which none stands where it stood. Raises ValueError where one is more than half."""
    if 2 * max(kinds.count(kind) for kind in set(kinds)) > len(kinds):
        raise ValueError("one kind has more than half of the clips")
    rng, found = np.random.default_rng(seed), list(kinds)
    rng.shuffle(found)
    while wrong := [row for row, kind in enumerate(found) if kind == kinds[row]]:
        row, other = wrong[0], int(rng.integers(len(found)))
        if found[other] != kinds[row] and found[row] != kinds[other]:
            found[row], found[other] = found[other], found[row]
    return found


def questions(urls: Sequence[str], most: int, seed: int = 0) -> list[dict[str, str]]:
    """``clip``, ``question`` and ``answer`` of three questions about each clip of the shards ``urls``."""
    from mmask.data.source import open_source

    clips: list[tuple[str, str]] = []
    counts = dict.fromkeys(KINDS, 0)
    for url in urls:
        source = open_source(url)
        for sample in (source.read(row) for row in range(len(source))):
            kind = kind_of(json.loads(sample.parts["json"])["subgroup"])
            if kind and counts[kind] < most:
                counts[kind] += 1
                clips.append((sample.id.key, kind))
    made = []
    for (key, kind), other in zip(clips, others([kind for _, kind in clips], seed), strict=True):
        made += [{"clip": key, "question": question, "answer": answer} for question, answer in (
            ("what is it ?", kind), (f"is it {kind} ?", CHECKS[0]), (f"is it {other} ?", CHECKS[1]),
        )]
    return made


def write(urls: Sequence[str], most: int, path: Path) -> Path:
    """The questions about some shards, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in questions(urls, most)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def majority(fit: Path, test: Path) -> dict[str, float]:
    """The shares of right answers of one who knows only which answer each question mostly has: of all questions, of
    ``is`` and of ``what``."""
    known: dict[str, list[str]] = {}
    rows = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (fit, test)]
    for row in rows[0]:
        known.setdefault(row["question"], []).append(row["answer"])
    said = {question: max(sorted(set(found)), key=found.count) for question, found in known.items()}
    right = [(row["answer"] in CHECKS, said.get(row["question"]) == row["answer"]) for row in rows[1]]
    parts = {"all": right, "is": [one for one in right if one[0]], "what": [one for one in right if not one[0]]}
    return {name: sum(one[1] for one in part) / len(part) for name, part in parts.items()}


def shares(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> dict[str, float]:
    """The same of an evaluation's answers. confusion: counts, truth by row."""
    table = np.array(confusion)
    checks = np.array([str(name) in CHECKS for name in classes])
    right = table.diagonal()
    return {name: float(right[rows].sum() / table[rows].sum())
            for name, rows in (("all", checks | True), ("is", checks), ("what", ~checks))}
