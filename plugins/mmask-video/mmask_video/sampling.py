"""Which frames of a video make a clip."""

from __future__ import annotations

from collections.abc import Callable

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


def uniform(total: int, count: int, stride: int, draws: np.ndarray | None) -> np.ndarray:
    """One frame of each of ``count`` equal parts, drawn in it; its middle in evaluation (TSN, Wang et al. 2016)."""
    share = np.full(count, 0.5) if draws is None else draws
    return np.minimum(((np.arange(count) + share) * total / count).astype(np.int64), total - 1)


def sparse(total: int, count: int, stride: int, draws: np.ndarray | None) -> np.ndarray:
    """``count`` frames at equal distances, none drawn: int(n / (count + 1) * (i + 1)) (VIOLET)."""
    return np.minimum((total / (count + 1) * (np.arange(count) + 1)).astype(np.int64), total - 1)


SAMPLERS: dict[str, Sampler] = {"dense": dense, "uniform": uniform, "sparse": sparse}


def sampler(name: str) -> Sampler:
    """A sampler by name. Raises RecipeError."""
    if name not in SAMPLERS:
        raise RecipeError(f"sampling = '{name}' is unknown; there are {', '.join(SAMPLERS)}")
    return SAMPLERS[name]
