"""Claims: text maskers, corruptions and ELECTRA."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("head", "rtd", "mmask_text.rtd:RtdHead", "original or replaced, at scored places (ELECTRA)"),
    Component("preview", "text", "mmask_text.preview:TextPreview", "hidden pieces, and what the model says there"),
    Component("weights", "electra", "mmask_text.weights.electra:ElectraWeights", "ELECTRA's networks, one or both"),
    Component("recipe", "electra-tiny", "mmask_text.recipes.electra:electra_tiny", "replaced tokens, 2 layers of 128"),
    Component("recipe", "electra-small", "mmask_text.recipes.electra:electra_small", "replaced tokens, 12 x 256"),
    Component("recipe", "electra-base", "mmask_text.recipes.electra:electra_base", "replaced tokens, 12 x 768"),
)
