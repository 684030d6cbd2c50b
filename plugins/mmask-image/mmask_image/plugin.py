"""The manifest: what this plugin claims. Imports nothing heavy."""

from __future__ import annotations

from mmask.api import Component, hookimpl


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has."""
    return (
        Component("dataset", "emoji", "mmask_image.dataset:emoji", "1,852 labelled 64 px pictures, in the wheel"),
    )
