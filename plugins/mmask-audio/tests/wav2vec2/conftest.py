"""Small models of wav2vec 2.0, and ragged batches of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mmask import testing
from mmask.api import Batch, MaskedModel, Recipe, use
from mmask_audio.recipes.wav2vec2 import wav2vec2

FRONT = {"channels": 8, "kernels": (10, 3, 2), "strides": (5, 2, 2)}  # a frame of 30 samples each 20
LENGTHS = (1010, 430, 777, 250)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(*, front: dict[str, Any] | None = None, diversity: dict[str, Any] | None = None, **encoder: Any) -> Recipe:
    """The recipe at toy sizes, without dropout unless asked for."""
    recipe = wav2vec2(
        "small", "", width=16, depth=2, heads=2, channels=8, codes=8, dim=8, entries=6, positions=(4, 4)
    )
    recipe.tokenize["audio"] = use("conv-features", **{**FRONT, **(front or {})})
    network = recipe.networks["encoder"]
    recipe.networks["encoder"] = type(network).model_validate({
        "use": network.use, "width": 16, "depth": 2, "heads": 2, "positions": 4, "position_groups": 4, **encoder
    })
    recipe.mask = use("span", ratio=0.5, length=3, rounding="random", at_least=2)
    contrast = recipe.objectives["contrast"]
    contrast.target = use("gumbel-codes", **{**contrast.target.options(), "negatives": 7, "dropout": 0.0})
    contrast.options = diversity or {"diversity": 0.1, "group": 2}
    return recipe


@pytest.fixture(scope="session")
def build() -> Callable[..., MaskedModel]:
    def make(recipe: Recipe | None = None, seed: int = 0, **options: Any) -> MaskedModel:
        return testing.build(recipe or small(**options), seed).double()

    return make


@pytest.fixture(scope="session")
def clips() -> Callable[..., Batch]:
    def make(lengths: Sequence[int] = LENGTHS, *, first: int = 0, pad: int | None = None) -> Batch:
        """Clip ``first + i`` is the same noise in any batch; the rest of a row is 0."""
        audio = torch.zeros(len(lengths), pad or max(lengths), dtype=torch.float64)
        for row, length in enumerate(lengths):
            generator = torch.Generator().manual_seed(first + row)
            audio[row, :length] = torch.randn(length, generator=generator, dtype=torch.float64)
        ids = np.arange(first, first + len(lengths), dtype=np.uint64)
        return Batch({"audio": audio, "audio.length": torch.tensor(lengths)}, ids, np.zeros(len(lengths), np.int64))

    return make
