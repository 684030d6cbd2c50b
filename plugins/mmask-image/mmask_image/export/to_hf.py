"""hf: a folder that ``from_pretrained`` of transformers loads: ViTModel, or ViTMAEForPreTraining with decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Batch, ExportError, MaskPlan, Plans, Recipe, TransformerDecoder, unpatchify
from mmask_image.export.dense import VitSizes, one_number, vit_of
from mmask_image.export.pictures import PictureExporter, as_batch, blank, numbers, put, tokenizer_of
from mmask_image.weights import MaeWeights

_ENCODER = '''\
import torch
from transformers import ViTModel

model = ViTModel.from_pretrained(".", add_pooling_layer=False).eval()
{image}
features = model(pixel_values=image).last_hidden_state
print(tuple(features.shape))
'''
_WHOLE = '''\
import torch
from transformers import ViTMAEForPreTraining

model = ViTMAEForPreTraining.from_pretrained(".").eval()
{image}
predicted = model(pixel_values=image).logits
print(tuple(predicted.shape))
'''
# timm's names in a block -> those of transformers' files
_BLOCK = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
}
_TOP = {
    "cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias",
}


class HfExporter(PictureExporter):
    """``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` for transformers.

    whole: the decoder too, as a ViTMAEForPreTraining; compared are its predictions at the hidden patches.
    """

    needs = ("transformers",)
    extra = "mmask-image[hf]"

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for what is no ViT, or a decoder that is not MAE's."""
        dense, sizes = vit_of(model, "hf")
        tokenizer = tokenizer_of(model)
        weights, config = dict(_blocks(dense.weights, sizes.depth, "encoder.layer", _TOP)), _sizes(sizes)
        if self.whole:
            head = _decoder(model, sizes)
            weights = {f"vit.{name}": value for name, value in weights.items()} | _decoder_weights(model, head)
            config |= _decoder_sizes(head) | _loss(model, recipe)
        put(weights, folder)
        kind, text = ("ViTMAEForPreTraining", _WHOLE) if self.whole else ("ViTModel", _ENCODER)
        about = {"architectures": [kind], "model_type": "vit_mae" if self.whole else "vit", **config}
        _json(folder / "config.json", {**about, "torch_dtype": "float32"})
        _json(folder / "preprocessor_config.json", _processor(tokenizer))
        return text.format(image=blank(model))

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``image``; and ``noise`` (B, N), by which ViTMAE hides patches, made from a plan of the run's own."""
        out = super().inputs(model, batch)
        if self.whole:
            plan = model.draw(as_batch(model, out["image"])).plan(_mask(model))
            order = torch.arange(plan.hidden.shape[1]) / plan.hidden.shape[1]
            out["noise"] = plan.hidden.double() + order  # kept places first: their noise is below 1
        return out

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``features``, or ``predicted`` (S, D) at the hidden patches, row by row."""
        if not self.whole:
            return super().ours(model, inputs)
        batch = as_batch(model, inputs["image"])
        layout = next(iter(model.layouts(batch).values()))
        plan = MaskPlan.of_hidden(layout, inputs["noise"] >= 1)
        return {"predicted": next(iter(model(batch, plan, predictions=True)[1].values())).value}

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of transformers' model."""
        model = loaded["model"].to(inputs["image"].dtype)
        with torch.inference_mode():
            if not self.whole:
                return {"features": model(pixel_values=inputs["image"]).last_hidden_state}
            out = model(pixel_values=inputs["image"], noise=inputs["noise"])
        return {"predicted": out.logits[out.mask.bool()]}

    def peer(self, model: Any, plans: Plans, folder: Path) -> tuple[nn.Module, Callable[[], Tensor]]:
        """ViTMAEForPreTraining, and its loss of the pictures under the plan. Needs ``whole``."""
        from transformers import ViTMAEForPreTraining
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        tokenizer, hidden = tokenizer_of(model), plans.plan(_mask(model)).hidden
        values = tokenizer(plans.batch).values
        image = unpatchify(values, tokenizer.grid, tokenizer.patch, tokenizer.in_chans)
        noise = (hidden.double() + torch.arange(hidden.shape[1]) / hidden.shape[1]).to(image.device)
        theirs = ViTMAEForPreTraining.from_pretrained(folder)
        return theirs, lambda: theirs(pixel_values=image, noise=noise).loss


def _blocks(
    weights: Mapping[str, Tensor], depth: int, layers: str, top: Mapping[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """Names of transformers' files; q, k and v apart."""
    for own, other in top.items():
        yield other, weights[own]
    for i in range(depth):
        for name, value in weights.items():
            if not name.startswith(f"blocks.{i}."):
                continue
            own, part = name.removeprefix(f"blocks.{i}.").rsplit(".", 1)
            if own == "attn.qkv":
                for letter, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    yield f"{layers}.{i}.attention.attention.{letter}.{part}", third
            else:
                yield f"{layers}.{i}.{_BLOCK[own]}.{part}", value


def _sizes(sizes: VitSizes) -> dict[str, Any]:
    image: Any = sizes.image[0] if sizes.image[0] == sizes.image[1] else list(sizes.image)
    patch: Any = sizes.patch[0] if sizes.patch[0] == sizes.patch[1] else list(sizes.patch)
    return {
        "hidden_size": sizes.width, "num_hidden_layers": sizes.depth, "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.hidden, "hidden_act": "gelu", "layer_norm_eps": sizes.eps,
        "image_size": image, "patch_size": patch, "num_channels": sizes.channels, "qkv_bias": sizes.qkv_bias,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }


def _decoder(model: Any, sizes: VitSizes) -> TransformerDecoder:
    heads = [head for head in (getattr(o, "head", None) for o in model.objectives.values()) if head is not None]
    if len(heads) != 1 or not isinstance(heads[0], TransformerDecoder):
        raise ExportError("whole=true needs one decoder as MAE has it", hint="export the encoder alone: whole=false")
    one_number(sizes.image, "pictures", "hf with its decoder")
    one_number(sizes.patch, "patches", "hf with its decoder")
    block: Any = heads[0].blocks[0]
    eps, bias = heads[0].norm.eps, block.attn.qkv.bias is not None
    if (eps, bias) != (sizes.eps, sizes.qkv_bias):
        raise ExportError(
            f"transformers has one eps and one qkv_bias for encoder and decoder; they are {sizes.eps}, "
            f"{sizes.qkv_bias} and {eps}, {bias}", hint="export the encoder alone: whole=false",
        )
    return heads[0]


def _decoder_weights(model: Any, head: TransformerDecoder) -> dict[str, Tensor]:
    official = MaeWeights.official({}, head.state_dict())
    blocks = {n.removeprefix("decoder_"): v for n, v in official.items() if n.startswith("decoder_blocks.")}
    rest = {name: name for name in official if not name.startswith("decoder_blocks.")}
    named = dict(_blocks(official | blocks, len(head.blocks), "decoder_layers", rest))
    return {f"decoder.{name}": value for name, value in named.items()}


def _decoder_sizes(head: TransformerDecoder) -> dict[str, Any]:
    block: Any = head.blocks[0]
    return {
        "decoder_hidden_size": head.norm.normalized_shape[0], "decoder_num_hidden_layers": len(head.blocks),
        "decoder_num_attention_heads": block.attn.num_heads,
        "decoder_intermediate_size": block.mlp.fc1.out_features,
    }


def _loss(model: Any, recipe: Recipe) -> dict[str, Any]:
    """What ViTMAE hides and how it computes its loss. Its count is int(N * (1 - mask_ratio))."""
    places = int(torch.tensor(tokenizer_of(model).grid).prod())
    ids = torch.zeros(1, tokenizer_of(model).in_chans, *tokenizer_of(model).image_size)
    kept = int((~model.draw(as_batch(model, ids)).plan(_mask(model)).hidden).sum())
    ratio = recipe.maskers()[_mask(model)].options().get("ratio")
    if not isinstance(ratio, float) or int(places * (1 - ratio)) != kept:
        ratio = 1 - (kept + 0.5) / places
    normalised = any(o.target is not None and o.target.options().get("normalise") for o in recipe.objectives.values())
    return {"mask_ratio": ratio, "norm_pix_loss": bool(normalised)}


def _mask(model: Any) -> str:
    return str(next(iter(model.maskers)))


def _processor(tokenizer: Any) -> dict[str, Any]:
    high, wide = tokenizer.image_size
    return {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": high, "width": wide},
        "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": numbers(tokenizer.mean), "image_std": numbers(tokenizer.std),
    }


def _json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


