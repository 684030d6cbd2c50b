"""Claims: evaluators, previews and commands."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
