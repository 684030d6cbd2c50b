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
    Component("weights", "cae", "mmask_image.cae_weights:CaeWeights", "checkpoints of the reference CAE"),
    Component("recipe", "cae-vit-tiny", "mmask_image.recipes.cae:cae_vit_tiny", "context autoencoder, ViT-Ti/16"),
    Component("recipe", "cae-vit-b", "mmask_image.recipes.cae:cae_vit_b", "context autoencoder, ViT-B/16"),
    Component("recipe", "beit-vit-tiny", "mmask_image.recipes.beit:beit_vit_tiny", "codes of hidden blocks, ViT-Ti/16"),
    Component("recipe", "beit-vit-b", "mmask_image.recipes.beit:beit_vit_b", "codes of hidden blocks, ViT-B/16"),
    Component("recipe", "simmim-vit-tiny", "mmask_image.recipes.simmim:simmim_vit_tiny", "replace and regress, ViT-Ti/16"),
    Component("recipe", "simmim-vit-b", "mmask_image.recipes.simmim:simmim_vit_b", "replace and regress, ViT-B/16"),
    Component("recipe", "simmim-swin-t", "mmask_image.recipes.simmim:simmim_swin_t", "replace and regress, Swin-T"),
    Component("recipe", "vq-tiny", "mmask_image.recipes.vq:vq_tiny", "discrete codes of 4 px, 512 of them"),
    Component("recipe", "vq-b", "mmask_image.recipes.vq:vq_b", "discrete codes of 8 px, 8192 of them"),
)
