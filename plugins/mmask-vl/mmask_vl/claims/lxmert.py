"""Claims: LXMERT, two streams that meet."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
