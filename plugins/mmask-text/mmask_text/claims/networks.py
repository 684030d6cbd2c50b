"""Claims: the transformer, its recipes, importers and exporters."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
