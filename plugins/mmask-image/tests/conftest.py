"""Building a recipe's model from the manifests, and batches of pictures."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch

from mmask import builtin
from mmask.api import Batch, MaskedModel, Recipe, Spec
from mmask.train.build import build_model
from mmask_image import plugin


class Manifests:
    """Finds components in the core's and this plugin's manifests."""

    def __init__(self) -> None:
        claims = (*builtin.mmask_components(), *plugin.mmask_components())
        self.targets = {(claim.kind, claim.name): claim.target for claim in claims}

    def load(self, kind: str, name: str) -> Any:
        module, _, attribute = self.targets[kind, name].partition(":")
        return getattr(import_module(module), attribute)

    def build(self, kind: str, spec: Spec, /, **wiring: Any) -> Any:
        target = self.load(kind, spec.use)
        known = signature(target).parameters
        parts = {name: part for name, part in wiring.items() if name in known and name not in spec.options()}
        return target(**spec.options(), **parts)


@pytest.fixture(scope="session")
def manifests() -> Manifests:
    return Manifests()


@pytest.fixture(scope="session")
def build(manifests: Manifests) -> Callable[[Recipe], MaskedModel]:
    def make(recipe: Recipe, seed: int = 0) -> MaskedModel:
        torch.manual_seed(seed)
        return build_model(recipe, manifests)

    return make


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Batch]:
    def make(batch: int, channels: int, high: int, wide: int, dtype: torch.dtype = torch.float64) -> Batch:
        generator = torch.Generator().manual_seed(batch + high)
        image = torch.randint(0, 256, (batch, channels, high, wide), generator=generator, dtype=torch.uint8)
        if dtype != torch.uint8:
            image = image.to(dtype) / 128 - 1
        return Batch({"image": image}, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))

    return make
