"""Claims: evaluators, previews and commands."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("command", "predict", "mmask_text.predict:predict", "fill the [MASK]s of a text with a run's words"),
    Component("evaluator", "masked", "mmask_text.judge:MaskedWords", "masked accuracy and pseudo-perplexity"),
)
