"""The manifest: what this plugin claims. Imports nothing heavy."""

from __future__ import annotations

from mmask.api import Component, hookimpl
from mmask_text.claims import judging, masking, networks, reading


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has."""
    return (*judging.CLAIMS, *masking.CLAIMS, *networks.CLAIMS, *reading.CLAIMS)
