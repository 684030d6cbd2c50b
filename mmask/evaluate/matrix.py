"""The halves of a set of samples, what belongs to what, scores of all pairs, and the ranks of the right ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.errors import DataError, UsageError, did_you_mean
from mmask.protocols.pairs import PairScorer
from mmask.types import Batch, Tokens

if TYPE_CHECKING:
    from mmask.protocols.pairs import Half


def scorer_of(model: Any, objective: str = "") -> tuple[str, Any]:
    """The objective that scores pairs, by name or the only one. Raises UsageError."""
    found = {name: one for name, one in model.objectives.items() if isinstance(one, PairScorer)}
    if objective and objective not in found:
        near = did_you_mean(objective, found)
        raise UsageError(f"no objective '{objective}' scores pairs{near}; those that do: {sorted(found) or 'none'}")
    if not found or (len(found) > 1 and not objective):
        raise UsageError(
            f"objectives that score pairs: {sorted(found) or 'none'}",
            hint="set objective=NAME" if found else "retrieval is for recipes that learn what belongs together",
        )
    name = objective or next(iter(found))
    return name, found[name]


@dataclass(frozen=True)
class Sides:
    """halves: of the different firsts and of the different seconds, on the host. rows: the stored positions where each
    was met first. belongs: (A, C) bool, the pairs that were met."""

    halves: tuple[dict[str, Tensor], dict[str, Tensor]]
    rows: tuple[list[int], list[int]]
    belongs: Tensor


@torch.no_grad()
def read_sides(model: Any, scorer: Any, batches: Iterable[Batch]) -> Sides:
    """Every sample's two halves; equal ones are kept once, so that a picture with five captions is one picture."""
    known: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
    parts: tuple[list[Half], list[Half]] = ([], [])
    rows: tuple[list[int], list[int]] = ([], [])
    pairs: list[tuple[int, int]] = []
    for batch in batches:
        scene, start = model.scene(batch, {}), len(pairs)
        found = []
        for which, stream in enumerate(scorer.sides):
            names = digests(scene.view("clean").tokens[stream])
            fresh = [row for row, name in enumerate(names) if name not in known[which] and name not in names[:row]]
            for row in fresh:
                known[which][names[row]] = len(known[which])
            rows[which].extend(start + row for row in fresh)
            if fresh:
                half = scorer.side(scene, stream)
                parts[which].append({name: value[fresh].cpu() for name, value in half.items()})
            found.append([known[which][name] for name in names])
        pairs.extend(zip(*found, strict=True))
    if not pairs:
        raise DataError("no sample could be read", hint="look at the shards with: mmask data inspect URL")
    belongs = torch.zeros(len(known[0]), len(known[1]), dtype=torch.bool)
    belongs[tuple(torch.tensor(pairs).T)] = True
    return Sides((joined(parts[0]), joined(parts[1])), rows, belongs)


def digests(tokens: Tokens) -> list[bytes]:
    """What tells samples apart: a hash of each one's tokens, padding aside."""
    values = tokens.ids if tokens.values is None else tokens.values
    if values is None or tokens.flat:
        raise DataError("sides are told apart by padded tokens with ids or values")
    table, valid = np.ascontiguousarray(values.detach().cpu().float().numpy()), tokens.layout.valid
    kept = [row if valid is None else row[valid[number].cpu().numpy()] for number, row in enumerate(table)]
    return [blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest() for row in kept]


def joined(halves: list[Half]) -> dict[str, Tensor]:
    """Halves of several batches as one, padded at their end."""
    made: dict[str, Tensor] = {}
    for name in halves[0]:
        values = [half[name] for half in halves]
        if values[0].ndim > 1:
            longest = max(value.shape[1] for value in values)
            tail = (0, 0) * (values[0].ndim - 2)
            values = [F.pad(value, (*tail, 0, longest - value.shape[1])) for value in values]
        made[name] = torch.cat(values)
    return made


@torch.no_grad()
def score_matrix(model: Any, scorer: Any, sides: Sides, *, chunk: int, device: torch.device) -> Tensor:
    """(A, C) scores on the host, at most ``chunk`` pairs at once. Raises DataError for scores that are not finite."""
    first, second = sides.halves
    many, much = sides.belongs.shape
    wide = min(much, chunk)
    high = max(1, chunk // wide)
    made = torch.empty(many, much)
    for left in range(0, much, wide):
        column = _rows(second, left, left + wide, device)
        for top in range(0, many, high):
            block = scorer.pair_scores(model, _rows(first, top, top + high, device), column)
            made[top : top + high, left : left + wide] = block.float().cpu()
    if not bool(torch.isfinite(made).all()):
        raise DataError(f"{int((~torch.isfinite(made)).sum()):,} of {made.numel():,} pairs have no finite score")
    return made


def _rows(half: Half, start: int, stop: int, device: torch.device) -> dict[str, Tensor]:
    return {name: value[start:stop].to(device) for name, value in half.items()}


def ranks(scores: Tensor, belongs: Tensor) -> Tensor:
    """(A,) float: the place of the best right one of each row among all wrong ones, 1 for the first; ties count half.

    scores: (A, C). belongs: (A, C) bool.
    """
    best = scores.masked_fill(~belongs, -torch.inf).amax(1, keepdim=True)
    wrong = ~belongs
    above = ((scores > best) & wrong).sum(1)
    beside = ((scores == best) & wrong).sum(1)
    return 1 + above + beside / 2


def recalls(places: Tensor, name: str, at: tuple[int, ...]) -> Mapping[str, float]:
    """``name_r1`` and so on: the share of places up to each number; and ``name_median``."""
    shares = {f"{name}_r{k}": float((places <= k).double().mean()) for k in at}
    return {**shares, f"{name}_median": float(places.double().median())}


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model lies."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
