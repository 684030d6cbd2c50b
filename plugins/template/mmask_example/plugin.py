"""The manifest: what this plugin claims. Imports nothing heavy; targets are imported when they are built."""

from __future__ import annotations

from mmask.api import Component, hookimpl


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has: kind, name, where it is, one line."""
    return (
        Component("recipe", "example-tiny", "mmask_example.recipes:example_tiny", "fill the gap in a signal"),
        Component("dataset", "example", "mmask_example.data:samples", "80 sums of two sine waves, in the wheel"),
        Component("decoder", "example-wave", "mmask_example.data:WaveDecoder", "a stored array as a signal"),
        Component("tokenizer", "example-stretch", "mmask_example.tokens:StretchTokenizer", "equal stretches"),
        Component("masker", "example-gap", "mmask_example.gap:GapMasker", "one gap of exact length"),
        Component("encoder", "example-encoder", "mmask_example.encoder:SignalEncoder", "a small transformer"),
    )
