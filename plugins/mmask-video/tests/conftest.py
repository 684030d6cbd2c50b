"""Building a recipe's model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmask.api import MaskedModel, Recipe
from mmask.plugin.host import Host
from mmask.train.build import build_model


@pytest.fixture(scope="session")
def build() -> Callable[..., MaskedModel]:
    host = Host()

    def make(recipe: Recipe, seed: int = 0) -> MaskedModel:
        torch.manual_seed(seed)
        return build_model(recipe, host)

    return make


@pytest.fixture(scope="session")
def host() -> Host:
    return Host()
