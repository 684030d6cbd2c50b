"""Claims: pictures and captions told apart in a batch."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("objective", "contrast", "mmask_vl.contrast:Contrast", "the own caption among all (CLIP, SigLIP)"),
    Component("encoder", "open-clip", "mmask_vl.open_clip_encoder:OpenClipEncoder", "two towers, a model of open_clip"),
    Component("exporter", "open-clip", "mmask_vl.open_clip_export:OpenClipExporter", "a checkpoint of open_clip"),
    Component("recipe", "clip-tiny", "mmask_vl.recipes.clip:clip_tiny", "pictures and names, two towers of width 128"),
)
