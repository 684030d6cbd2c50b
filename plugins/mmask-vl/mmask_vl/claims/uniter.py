"""Claims: UNITER, one stream of words and regions."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("encoder", "uniter", "mmask_vl.uniter:UniterEncoder", "words and regions through one transformer"),
    Component(
        "objective", "image-text-matching", "mmask_vl.matching:ImageTextMatching", "own picture? word-region alignment"
    ),
    Component("weights", "uniter", "mmask_vl.uniter_weights:UniterWeights", "checkpoints of the reference UNITER"),
)
