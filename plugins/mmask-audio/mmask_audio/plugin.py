"""The manifest: what this plugin claims. Imports nothing heavy."""

from __future__ import annotations

from mmask.api import Component, hookimpl
from mmask_audio.claims import judging, reading, spectrograms, waveforms


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has."""
    return (*judging.CLAIMS, *reading.CLAIMS, *spectrograms.CLAIMS, *waveforms.CLAIMS)
