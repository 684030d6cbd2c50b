"""Features of one recording brought to a known mean and deviation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import RecipeError

Number = float | Sequence[float]


def cmvn(features: Tensor, eps: float = 1e-10) -> Tensor:
    """(T, M) with mean 0 and deviation 1 of each bin over the frames (Bessel's correction, as s3prl has it)."""
    deviation, mean = torch.std_mean(features, dim=0, correction=1 if len(features) > 1 else 0)
    return (features - mean) / (deviation + eps)


class Normaliser:
    """(x - mean) / (spread * std). mean, std: numbers, or one for each bin. spread: 2 for SSAST and AST.

    A file of ``mmask data stats`` gives both; ``per_bin`` takes its numbers of each bin. Raises RecipeError.
    """

    def __init__(self, mean: Number, std: Number, spread: float = 1.0) -> None:
        self.mean, self.scale = torch.as_tensor(mean), torch.as_tensor(std) * spread
        if not bool((self.scale > 0).all()) or not bool(torch.isfinite(self.mean).all()):
            raise RecipeError(f"std = {std} times spread = {spread} must be positive, and mean = {mean} finite")

    @classmethod
    def of_file(cls, path: str, field: str, *, per_bin: bool, spread: float) -> Normaliser:
        """From the JSON file that ``mmask data stats --out`` wrote."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))["fields"][field]
            if not per_bin:
                return cls(found["mean"], found["std"], spread)
            # narrow filters may hold no bin of the spectrum at all: their value never changes
            return cls(found["each"]["mean"], [std if std > 0 else 1.0 for std in found["each"]["std"]], spread)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RecipeError(
                f"'{path}' holds no statistics of '{field}'{' for each bin' if per_bin else ''}: "
                f"{type(error).__name__}: {error}",
                hint=f"make it with: mmask data stats SHARDS --recipe NAME --out {path}",
            ) from error

    def __call__(self, features: Tensor) -> Tensor:
        """(T, M) -> (T, M), the same tensor, changed in place: padded features are large, and new pages cost."""
        if self.mean.ndim and len(self.mean) != features.shape[1]:
            raise RecipeError(f"statistics of {len(self.mean)} bins do not fit {features.shape[1]} bins")
        return features.sub_(self.mean).div_(self.scale)


def normaliser_of(options: Any) -> Normaliser | None:
    """The normaliser of a decoder's ``mean``, ``std``, ``spread``, ``stats`` and ``per_bin``; None without any."""
    if options.stats is not None:
        if options.mean is not None or options.std is not None:
            raise RecipeError("both 'stats' and 'mean' or 'std' are set", hint="'stats' is a file that holds both")
        return Normaliser.of_file(options.stats, options.field, per_bin=options.per_bin, spread=options.spread)
    if (options.mean is None) != (options.std is None):
        raise RecipeError("'mean' and 'std' belong together", hint="set both, or 'stats'")
    if options.mean is None:
        return None
    return Normaliser(options.mean, options.std, options.spread)
