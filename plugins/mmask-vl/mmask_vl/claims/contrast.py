"""Claims: pictures and captions told apart in a batch."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("objective", "contrast", "mmask_vl.contrast:Contrast", "a picture's own caption among all (CLIP, SigLIP)"),
)
