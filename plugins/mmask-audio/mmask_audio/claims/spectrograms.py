"""Claims: SSAST and TERA."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
