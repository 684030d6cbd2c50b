"""How far two sides of an export are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mmask.errors import ExportError


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of one output. relative: to the output's largest magnitude."""

    name: str
    shape: tuple[int, ...]
    absolute: float
    relative: float


def compare(
    ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]
) -> list[Difference]:
    """One line an output. Raises ExportError for outputs that are missing or have another shape."""
    if ours.keys() != theirs.keys() or not ours:
        raise ExportError(f"the export gives {sorted(theirs)}, the run gives {sorted(ours)}")
    return [_difference(name, ours[name], theirs[name]) for name in ours]


def _difference(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> Difference:
    if ours.shape != theirs.shape:
        raise ExportError(f"'{name}' of the export is {tuple(theirs.shape)}, of the run {tuple(ours.shape)}")
    a, b = ours.detach().cpu().double(), theirs.detach().cpu().double()
    top = float(a.abs().max())
    if not math.isfinite(top) or top == 0.0:
        raise ExportError(f"'{name}' of the run is {'all zero' if top == 0 else 'not finite'}: nothing to compare")
    apart = float((a - b).abs().max())
    return Difference(name, tuple(a.shape), apart, apart / top)


def check(found: list[Difference], tolerance: float) -> None:
    """Raise ExportError when an output is further apart than ``tolerance``, relative."""
    worst = max(found, key=lambda one: one.relative if math.isfinite(one.relative) else math.inf)
    if not worst.relative <= tolerance:
        raise ExportError(
            f"the written model does not agree with the run: '{worst.name}' differs by {worst.absolute:.3g}, "
            f"{worst.relative:.3g} of its largest value; {tolerance:.3g} is allowed",
            hint="nothing was kept; please report it with the run's recipe.toml",
        )
