"""torchvision: a state dict in the names of its own models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import ExportError, Recipe
from mmask_image.export.dense import Dense, VitSizes, dense_of, one_number
from mmask_image.export.pictures import PictureExporter, blank, put

_VIT = '''\
from functools import partial

import torch
from safetensors.torch import load_file
from torchvision.models import VisionTransformer

model = VisionTransformer(
    image_size={image_size}, patch_size={patch}, num_layers={depth}, num_heads={heads},
    hidden_dim={width}, mlp_dim={hidden}, norm_layer=partial(torch.nn.LayerNorm, eps={eps}),
)
model.heads = torch.nn.Identity()  # put a classifier of {width} inputs here
model.load_state_dict(load_file("model.safetensors"))
model.eval()
{image}
features = model(image)  # the state of [CLS]; model.encoder gives those of the patches too
print(tuple(features.shape))
'''
_NET = '''\
import torch
import torchvision
from safetensors.torch import load_file

model = torchvision.models.{name}({args})
model.{head} = torch.nn.Identity()  # put a classifier here
{change}model.load_state_dict(load_file("model.safetensors"))
model.eval()
{image}
features = model(image)  # the pooled features
print(tuple(features.shape))
'''
# timm's names in a block -> torchvision's
_BLOCK = {
    "norm1": "ln_1", "norm2": "ln_2", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3", "attn.proj": "self_attention.out_proj",
}
_HEAD = {"ResNet": "fc", "ConvNeXt": "classifier[2]"}


class TorchvisionExporter(PictureExporter):
    """``model.safetensors`` for ``torchvision.models``: a ViT of square pictures with three channels, or the
    network itself where the encoder is one of torchvision's."""

    needs = ("torchvision",)

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for a network that torchvision cannot make."""
        dense = dense_of(model)
        if dense.vit is not None:
            text = _vit(dense.vit)
            put(_renamed(dense.weights, dense.vit), folder)
        else:
            text = _net(dense)
            head = _head(dense).partition("[")[0]
            put({n: v for n, v in dense.weights.items() if not _of_head(n, head)}, folder)
        return text.replace("{image}", blank(model))

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What comes out of the ViT's encoder, or goes into the pooling of a convolutional network."""
        model, heard = loaded["model"].to(inputs["image"].dtype), []
        if hasattr(model, "encoder"):
            hook = model.encoder.register_forward_hook(lambda module, given, out: heard.append(out))
        else:
            hook = model.avgpool.register_forward_hook(lambda module, given, out: heard.append(given[0]))
        with torch.inference_mode():
            model(inputs["image"])
        hook.remove()
        return {"features": heard[0]}


def _vit(sizes: VitSizes) -> str:
    if sizes.channels != 3:
        raise ExportError(f"torchvision's ViT takes three channels, the encoder {sizes.channels}",
                          hint="use --format timm, hf or onnx")
    side, patch = one_number(sizes.image, "pictures", "torchvision"), one_number(sizes.patch, "patches", "torchvision")
    return _VIT.format(
        image_size=side, patch=patch, depth=sizes.depth, heads=sizes.heads, width=sizes.width, hidden=sizes.hidden,
        eps=sizes.eps, image="{image}",
    )


def _renamed(weights: Mapping[str, Tensor], sizes: VitSizes) -> dict[str, Tensor]:
    out = {
        "class_token": weights["cls_token"], "encoder.pos_embedding": weights["pos_embed"],
        "conv_proj.weight": weights["patch_embed.proj.weight"], "conv_proj.bias": weights["patch_embed.proj.bias"],
        "encoder.ln.weight": weights["norm.weight"], "encoder.ln.bias": weights["norm.bias"],
    }
    for i in range(sizes.depth):
        here, there = f"blocks.{i}.", f"encoder.layers.encoder_layer_{i}."
        for own, other in _BLOCK.items():
            for part in ("weight", "bias"):
                out[f"{there}{other}.{part}"] = weights[f"{here}{own}.{part}"]
        qkv = weights[f"{here}attn.qkv.weight"]
        out[f"{there}self_attention.in_proj_weight"] = qkv
        bias = weights.get(f"{here}attn.qkv.bias")  # torchvision always has one; no bias is a bias of zeros
        out[f"{there}self_attention.in_proj_bias"] = qkv.new_zeros(len(qkv)) if bias is None else bias
    return out


def _net(dense: Dense) -> str:
    if dense.library != "torchvision":
        raise ExportError(f"the encoder is {dense.library}'s {dense.name}", hint=f"use --format {dense.library}")
    args = ", ".join(f"{name}={value!r}" for name, value in dense.args.items())
    return _NET.format(name=dense.name, args=args, head=_head(dense), change=dense.change, image="{image}")


def _head(dense: Dense) -> str:
    kind = type(dense.module).__name__
    if kind not in _HEAD:
        raise ExportError(f"torchvision's {dense.name} is a {kind}, whose classifier is not known here",
                          hint="use --format safetensors or onnx")
    return _HEAD[kind]


def _of_head(name: str, head: str) -> bool:
    """ConvNeXt's classifier keeps its norm; only the last layer goes."""
    return name.startswith(f"{head}.2." if head == "classifier" else f"{head}.")
