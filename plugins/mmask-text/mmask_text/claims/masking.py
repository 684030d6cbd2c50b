"""Claims: text maskers, corruptions and ELECTRA."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
