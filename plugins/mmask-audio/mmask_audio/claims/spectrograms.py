"""Claims: SSAST and TERA."""

from __future__ import annotations

from mmask.api import Component

_TERA = {
    "tera-tiny": "altered frames, 2 layers of 128", "tera-base": "altered frames, 3 layers of 768",
    "tera-medium": "altered frames, 6 layers of 768", "tera-large": "altered frames, 12 layers of 768",
    "mockingjay-base": "masked frames, 3 layers of 768",
}

_SSAST = {
    f"ssast-{size}-{form}": f"masked {what} of a spectrogram, DeiT-{size[0].upper()}"
    for size in ("tiny", "small", "base") for form, what in (("patch", "patches"), ("frame", "frames"))
}

CLAIMS: tuple[Component, ...] = (
    Component("tokenizer", "bins", "mmask_audio.frames:FrameTokenizer", "every frame of features is a place"),
    Component("masker", "alteration", "mmask_audio.alteration:AlterationMasker", "time, frequency, magnitude (TERA)"),
    Component("corruption", "alter", "mmask_audio.alteration:Alter", "frames zeroed, copied, made noisy (TERA)"),
    Component("encoder", "frame-transformer", "mmask_audio.frame_encoder:FrameEncoder", "BERT's layers over frames"),
    Component("head", "spectrum", "mmask_audio.frame_encoder:SpectrumHead", "the bins of every frame (TERA)"),
    Component("weights", "tera", "mmask_audio.tera_weights:TeraWeights", "checkpoints of s3prl's TERA and Mockingjay"),
    Component("tokenizer", "spectrogram", "mmask_audio.spectrogram:SpectrogramTokenizer", "patches, band by band"),
    Component("encoder", "ast", "mmask_audio.ast:SpectrogramEncoder", "a ViT over patches of a spectrogram (SSAST)"),
    Component("weights", "ssast", "mmask_audio.ssast_weights:SsastWeights", "checkpoints of the reference SSAST"),
    Component("weights", "hf-ast", "mmask_audio.ast_weights:AstWeights", "transformers' ASTModel"),
    Component("exporter", "hf-ast", "mmask_audio.ast_export:AstExporter", "a folder for ASTModel.from_pretrained"),
    Component("preview", "spectrogram", "mmask_audio.preview:SpectrogramPreview", "original, altered, reconstructed"),
    *(
        Component("recipe", name, f"mmask_audio.recipes.ssast:{name.replace('-', '_')}", summary)
        for name, summary in _SSAST.items()
    ),
    *(
        Component("recipe", name, f"mmask_audio.recipes.tera:{name.replace('-', '_')}", summary)
        for name, summary in _TERA.items()
    ),
)
