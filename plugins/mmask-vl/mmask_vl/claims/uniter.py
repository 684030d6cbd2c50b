"""Claims: UNITER, one stream of words and regions."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
