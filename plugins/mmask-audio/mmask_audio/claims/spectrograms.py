"""Claims: SSAST and TERA."""

from __future__ import annotations

from mmask.api import Component

_TERA = {
    "tera-tiny": "altered frames, 2 layers of 128", "tera-base": "altered frames, 3 layers of 768",
    "tera-medium": "altered frames, 6 layers of 768", "tera-large": "altered frames, 12 layers of 768",
    "mockingjay-base": "masked frames, 3 layers of 768",
}

CLAIMS: tuple[Component, ...] = (
    Component("tokenizer", "bins", "mmask_audio.frames:FrameTokenizer", "every frame of features is a place"),
    Component("masker", "alteration", "mmask_audio.alteration:AlterationMasker", "time, frequency, magnitude (TERA)"),
    Component("corruption", "alter", "mmask_audio.alteration:Alter", "frames zeroed, copied, made noisy (TERA)"),
    Component("encoder", "frame-transformer", "mmask_audio.frame_encoder:FrameEncoder", "BERT's layers over frames"),
    Component("head", "spectrum", "mmask_audio.frame_encoder:SpectrumHead", "the bins of every frame (TERA)"),
    Component("weights", "tera", "mmask_audio.tera_weights:TeraWeights", "checkpoints of s3prl's TERA and Mockingjay"),
    *(
        Component("recipe", name, f"mmask_audio.recipes.tera:{name.replace('-', '_')}", summary)
        for name, summary in _TERA.items()
    ),
)
