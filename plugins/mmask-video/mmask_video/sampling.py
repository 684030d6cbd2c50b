"""Which frames of a video make a clip."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from mmask.api import RecipeError

# (frames there are, frames wanted, stride, draws) -> frame numbers; draws (wanted,) uniform in [0, 1), or None
Sampler = Callable[[int, int, int, "np.ndarray | None"], np.ndarray]


def dense(total: int, count: int, stride: int, draws: np.ndarray | None) -> np.ndarray:
    """Every ``stride``-th frame of one stretch, drawn uniformly; the middle one in evaluation (VideoMAE).

    A video shorter than the stretch gives its frames evenly spread over it.
    """
    span = (count - 1) * stride + 1
    if total < span:
        return np.rint(np.linspace(0, total - 1, count)).astype(np.int64)
    share = 0.5 if draws is None else float(draws[0])
    return int(share * (total - span + 1)) + stride * np.arange(count)


def clips(parts: int) -> Sampler:
    """`dense` in each of ``parts`` equal parts of the video: as many short clips of count / parts frames, one after
    another (ClipBERT, Lei et al. 2021)."""

    def pick(total: int, count: int, stride: int, draws: np.ndarray | None) -> np.ndarray:
        edges = np.arange(parts + 1) * total // parts
        found = []
        for part, (start, end) in enumerate(pairwise(edges.tolist())):
            here = min(start, total - 1)
            own = None if draws is None else draws[part:]
            found.append(here + dense(max(1, end - here), count // parts, stride, own))
        return np.concatenate(found)

    return pick


def uniform(total: int, count: int, stride: int, draws: np.ndarray | None) -> np.ndarray:
    """One frame of each of ``count`` equal parts, drawn in it; its middle in evaluation (TSN, Wang et al. 2016)."""
    share = np.full(count, 0.5) if draws is None else draws
    return np.minimum(((np.arange(count) + share) * total / count).astype(np.int64), total - 1)


def sparse(total: int, count: int, stride: int, draws: np.ndarray | None) -> np.ndarray:
    """``count`` frames at equal distances, none drawn: int(n / (count + 1) * (i + 1)) (VIOLET)."""
    return np.minimum((total / (count + 1) * (np.arange(count) + 1)).astype(np.int64), total - 1)


SAMPLERS: dict[str, Sampler] = {"dense": dense, "uniform": uniform, "sparse": sparse}


def sampler(name: str, parts: int = 1, count: int = 1) -> Sampler:
    """A sampler by name. parts: how many stretches ``dense`` takes ``count`` frames from. Raises RecipeError."""
    if name not in SAMPLERS:
        raise RecipeError(f"sampling = '{name}' is unknown; there are {', '.join(SAMPLERS)}")
    if parts == 1:
        return SAMPLERS[name]
    if name != "dense" or parts < 1 or count % parts:
        raise RecipeError(
            f"clips = {parts} with sampling = '{name}' and {count} frames cannot be",
            hint="several clips are a way of dense sampling, and frames is a multiple of clips",
        )
    return clips(parts)
