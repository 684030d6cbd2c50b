"""Claims: VIOLET, a clip and its caption in one network."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("tokenizer", "frames", "mmask_video.frames:FrameTokenizer", "cells of 32 px of every frame"),
    Component("encoder", "violet", "mmask_video.violet:VioletEncoder", "Video Swin, words, and a fusion transformer"),
    Component("masker", "blocks-or-attended", "mmask_video.attended:BlocksOrAttended", "a coin: blocks, or attention"),
    Component("corruption", "black", "mmask_video.black:Black", "hidden cells become black pixels"),
    Component("objective", "matching", "mmask_video.matching:Matching", "which caption of the group is a clip's own"),
    Component("preview", "clip-and-words", "mmask_video.pair_preview:ClipAndWords", "a clip and its caption, hidden"),
    Component("weights", "violet", "mmask_video.violet_weights:VioletWeights", "checkpoints of the reference VIOLET"),
    *(
        Component("recipe", name, f"mmask_video.recipes.violet:{name.replace('-', '_')}", summary)
        for name, summary in (
            ("violet-tiny", "clips and captions, a narrow Video Swin"),
            ("violet-base", "clips and captions, Video Swin and BERT-base"),
        )
    ),
)
