"""Claims: UNITER, one stream of words and regions."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("encoder", "uniter", "mmask_vl.uniter:UniterEncoder", "words and regions through one transformer"),
    Component(
        "objective", "image-text-matching", "mmask_vl.matching:ImageTextMatching", "own picture? word-region alignment"
    ),
    Component("weights", "uniter", "mmask_vl.uniter_weights:UniterWeights", "checkpoints of the reference UNITER"),
    Component("preview", "words-and-regions", "mmask_vl.preview:WordsAndRegions", "which word goes to which region"),
    *(
        Component("recipe", name, f"mmask_vl.recipes.uniter:{name.replace('-', '_')}", summary)
        for name, summary in (
            ("uniter-tiny", "regions and captions, 4 layers of width 128"),
            ("uniter-tiny-joint", "words and regions hidden together, as in table 2"),
            ("uniter-base", "regions and captions, BERT-base's size"),
        )
    ),
)
