"""Claims: regions of pictures, how they are read, and where they come from."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
