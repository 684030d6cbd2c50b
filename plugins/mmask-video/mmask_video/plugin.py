"""The manifest: what this plugin claims. Imports nothing heavy."""

from __future__ import annotations

from mmask.api import Component, hookimpl
from mmask_video.claims import clips, violet


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has."""
    return (*clips.CLAIMS, *violet.CLAIMS)
