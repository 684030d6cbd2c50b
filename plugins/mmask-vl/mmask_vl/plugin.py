"""The manifest: what this plugin claims. Imports nothing heavy."""

from __future__ import annotations

from mmask.api import Component, hookimpl
from mmask_vl.claims import contrast, lxmert, regions, uniter


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has."""
    return (*regions.CLAIMS, *uniter.CLAIMS, *lxmert.CLAIMS, *contrast.CLAIMS)
