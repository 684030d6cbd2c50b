"""The manifest: what this plugin claims. Imports nothing heavy."""

from __future__ import annotations

from mmask.api import Component, hookimpl
from mmask_image.claims import CODES

_MAE = {
    "tiny": "masked autoencoder, ViT-Ti/16",
    "s": "masked autoencoder, ViT-S/16",
    "b": "masked autoencoder, ViT-B/16",
    "l": "masked autoencoder, ViT-L/16",
    "h": "masked autoencoder, ViT-H/14",
}

_SPARK = {
    "resnet50": "SparK, ResNet-50",
    "resnet101": "SparK, ResNet-101",
    "convnext-s": "SparK, ConvNeXt-S",
    "convnext-b": "SparK, ConvNeXt-B",
    "resnet-tiny": "SparK, a narrow ResNet-18 for small pictures",
    "convnext-tiny": "SparK, a narrow ConvNeXt for small pictures",
}


@hookimpl
def mmask_components() -> tuple[Component, ...]:
    """Everything the plugin has."""
    return (
        Component("tokenizer", "patch", "mmask_image.patch:PatchTokenizer", "pixels of a grid of patches"),
        Component("encoder", "vit", "mmask_image.vit:VisionEncoder", "timm's ViT on the kept patches"),
        Component("weights", "mae", "mmask_image.weights:MaeWeights", "checkpoints of the reference MAE"),
        Component("exporter", "timm", "mmask_image.export.to_timm:TimmExporter", "a folder for timm.create_model"),
        Component(
            "exporter", "torchvision", "mmask_image.export.to_torchvision:TorchvisionExporter",
            "a state dict of torchvision's models",
        ),
        Component("exporter", "hf", "mmask_image.export.to_hf:HfExporter", "a folder for from_pretrained"),
        Component("exporter", "onnx", "mmask_image.export.to_onnx:OnnxExporter", "a graph for onnxruntime"),
        Component("preview", "mae", "mmask_image.preview:MaePreview", "original, hidden, reconstructed"),
        *(
            Component("recipe", f"mae-vit-{size}", f"mmask_image.recipes.mae:mae_vit_{size}", summary)
            for size, summary in _MAE.items()
        ),
        Component("encoder", "convnet", "mmask_image.spark.encoder:ConvEncoder", "a convnet on visible cells only"),
        Component("corruption", "blank", "mmask_image.spark.blank:Blank", "pixels of hidden patches become 0"),
        Component("head", "spark", "mmask_image.spark.head:SparkHead", "fills every map, decodes them together"),
        Component("weights", "spark", "mmask_image.spark.weights:SparkWeights", "checkpoints of the reference SparK"),
        *(
            Component(
                "recipe", f"spark-{net}", f"mmask_image.recipes.spark:spark_{net.replace('-', '_')}", summary
            )
            for net, summary in _SPARK.items()
        ),
        *CODES,
        Component("dataset", "emoji", "mmask_image.dataset:emoji", "1,852 labelled pictures of 64 px, in the wheel"),
        Component("decoder", "image", "mmask_image.decode:ImageDecoder", "crop, flip and resize of any picture"),
        Component("packer", "image", "mmask_image.pack:ImagePacker", "picture files, as they are or made smaller"),
        Component("preview", "contact-sheet", "mmask_image.contact:ContactSheet", "stored samples side by side"),
    )
