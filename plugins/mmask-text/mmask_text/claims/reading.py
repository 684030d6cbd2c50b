"""Claims: documents, tokenizers, packers and sample shards."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = ()
