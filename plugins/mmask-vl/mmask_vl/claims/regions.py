"""Claims: regions of pictures, how they are read, and where they come from."""

from __future__ import annotations

from mmask.api import Component

CLAIMS: tuple[Component, ...] = (
    Component("decoder", "regions", "mmask_vl.region_decode:RegionDecoder", "arrays that describe regions"),
    Component("command", "data.regions", "mmask_vl.commands:regions", "shards of pictures become shards of regions"),
    Component("command", "data.questions", "mmask_vl.commands:questions", "rows about pictures get their pictures"),
    Component("evaluator", "two-pictures", "mmask_vl.two_pictures:TwoPictures", "statements about two pictures"),
    Component("dataset", "emoji-regions", "mmask_vl.dataset:emoji_regions", "regions of emoji, with captions"),
    Component("tokenizer", "regions", "mmask_vl.region_tokens:RegionTokenizer", "features and boxes of regions"),
    Component("corruption", "hide-regions", "mmask_vl.hide_regions:HideRegions", "features of hidden regions are zero"),
    Component(
        "corruption", "swap-pictures", "mmask_vl.swap:SwapPictures", "some captions get another picture of the group"
    ),
    Component("target", "region-features", "mmask_vl.region_targets:RegionFeatures", "features of hidden regions"),
    Component("target", "region-classes", "mmask_vl.region_targets:RegionClasses", "classes a detector gave them"),
    Component("head", "region", "mmask_vl.region_heads:RegionHead", "features (tied) or classes of hidden regions"),
)
