"""Spectrum: how many directions features use, and whether they tell samples apart at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Of (N, D) features.

    rank: the effective rank, exp of the entropy of the singular values of the centred features divided by
    their sum (Roy & Vetterli 2007; RankMe, Garrido et al. 2023), from 1 to min(N - 1, D). 1 means that all
    samples lie on one line.
    std: the mean over channels of the standard deviation of features of unit length, times the root of D (Chen &
    He 2021 watch it in SimSiam): about 1 for features spread evenly over the sphere, 0 where all samples
    have the same features.
    """

    rank: float
    std: float


def spectrum(features: NDArray[np.floating]) -> Spectrum:
    """The spectrum of two or more rows. Features that are not finite have rank 1 and deviation 0."""
    x = np.asarray(features, np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        return Spectrum(1.0, 0.0)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    std = float(unit.std(0).mean() * np.sqrt(x.shape[1]))
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)
    largest = np.abs(x).max() * np.sqrt(x.size)
    values = values[values > largest * 1e-10]  # rounding is no direction
    if not len(values):
        return Spectrum(1.0, std)
    share = values / values.sum()
    return Spectrum(float(np.exp(-(share * np.log(share)).sum())), std)
