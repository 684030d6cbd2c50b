"""Claims of the discrete and replace-in-place methods: CAE, BEiT, SimMIM and their tokenizers."""

from __future__ import annotations

from mmask.api import Component

CODES = (
    Component("decoder", "image-pair", "mmask_image.pair:PairDecoder", "one crop in two renderings"),
    Component("encoder", "beit", "mmask_image.beit:BeitEncoder", "timm's Beit; drop or mask token (BEiT, CAE)"),
    Component("encoder", "swin", "mmask_image.swin:SwinEncoder", "timm's Swin Transformer with a mask token"),
    Component("encoder", "latent-regressor", "mmask_image.regressor:LatentRegressor", "hidden latents (CAE)"),
    Component("encoder", "vq", "mmask_image.vq:VqTokenizer", "a discrete tokenizer trained here"),
    Component("encoder", "dall-e", "mmask_image.dalle:DallETokenizer", "DALL-E's discrete tokenizer, a local file"),
    Component("head", "latent-decoder", "mmask_image.latent_decoder:LatentDecoder", "ids or pixels (CAE)"),
    Component("head", "vq-decoder", "mmask_image.vq:VqDecoder", "pixels from the codes of a picture"),
    Component("objective", "commitment", "mmask_image.vq:Commitment", "latents keep near their codes"),
    Component("preview", "codes", "mmask_image.code_preview:CodePreview", "codes that were predicted, right or wrong"),
    Component("weights", "beit", "mmask_image.replace_weights:BeitWeights", "checkpoints of the reference BEiT"),
    Component("weights", "simmim", "mmask_image.replace_weights:SimmimWeights", "checkpoints of the reference SimMIM"),
    Component("weights", "cae", "mmask_image.cae_weights:CaeWeights", "checkpoints of the reference CAE"),
    *(
        Component("recipe", name, f"mmask_image.recipes.{name.split('-')[0]}:{name.replace('-', '_')}", summary)
        for name, summary in (
            ("cae-vit-tiny", "context autoencoder, ViT-Ti/16"),
            ("cae-vit-b", "context autoencoder, ViT-B/16"),
            ("beit-vit-tiny", "codes of hidden blocks, ViT-Ti/16"),
            ("beit-vit-b", "codes of hidden blocks, ViT-B/16"),
            ("simmim-vit-tiny", "replace and regress, ViT-Ti/16"),
            ("simmim-vit-b", "replace and regress, ViT-B/16"),
            ("simmim-swin-t", "replace and regress, Swin-T"),
            ("vq-tiny", "discrete codes of 4 px, 512 of them"),
            ("vq-b", "discrete codes of 8 px, 8192 of them"),
        )
    ),
)
