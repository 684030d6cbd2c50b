"""Claims: wav2vec 2.0."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
