"""Building a recipe's model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmask import testing
from mmask.api import MaskedModel


@pytest.fixture(scope="session")
def build() -> Callable[..., MaskedModel]:
    return testing.build
