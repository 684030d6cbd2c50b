"""hf-videomae: a folder for transformers: VideoMAEModel, or VideoMAEForPreTraining with its decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Batch, ExportError, MaskPlan, Recipe, TransformerDecoder, sinusoid
from mmask_video.clip import ClipTokenizer
from mmask_video.vit import VideoEncoder
from mmask_video.weights import VideoMaeWeights, in_files

_ENCODER = '''\
import torch
from transformers import VideoMAEModel

model = VideoMAEModel.from_pretrained(".").eval()
clip = torch.zeros(1, {frames}, {channels}, {side}, {side})  # pixels / 255, minus mean, over std
features = model(pixel_values=clip).last_hidden_state
print(tuple(features.shape))
'''
_WHOLE = '''\
import torch
from transformers import VideoMAEForPreTraining

model = VideoMAEForPreTraining.from_pretrained(".").eval()
clip = torch.zeros(1, {frames}, {channels}, {side}, {side})  # pixels / 255, minus mean, over std
hidden = torch.arange({places})[None] % 2 == 0
predicted = model(pixel_values=clip, bool_masked_pos=hidden).logits
print(tuple(predicted.shape))
'''
_LAST_EPS = 1e-5  # of the decoder's last norm in transformers, whatever the config says


class VideoMaeExporter:
    """``config.json``, ``model.safetensors`` and ``preprocessor_config.json``. Both sides are run on the same clips in
    float64; compared are the states of all cuboids, or the predictions at the hidden ones.

    whole: the decoder too, as a VideoMAEForPreTraining. Its last norm has eps 1e-5 in transformers and 1e-6 in the
    reference, so a run that is to be exported whole sets ``last_eps`` of its decoder. Biases of keys, which change
    nothing, are left out.
    """

    needs = ("transformers",)
    extra = "mmask-video[hf]"
    dtype = "float64"
    tolerance = 1e-9

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for what is no VideoMAE or what transformers has no option for."""
        from safetensors.torch import save_file

        encoder, tokenizer = _parts(model)
        config = _config(encoder, tokenizer)
        weights = VideoMaeWeights.official(encoder.state_dict(), {})
        if self.whole:
            decoder = _decoder(model, encoder)
            weights |= VideoMaeWeights.official({}, decoder.state_dict())
            target = next(o.target for o in model.objectives.values() if getattr(o, "head", None) is decoder)
            config |= _decoder_config(decoder) | {"norm_pix_loss": bool(getattr(target, "normalise", False))}
        else:
            weights = {name.removeprefix("videomae."): value for name, value in weights.items()}
        ready = {name: value.detach().float().cpu().clone().contiguous() for name, value in in_files(weights).items()}
        save_file(ready, folder / "model.safetensors", metadata={"format": "pt"})
        kind, text = ("VideoMAEForPreTraining", _WHOLE) if self.whole else ("VideoMAEModel", _ENCODER)
        _json(folder / "config.json", {"architectures": [kind], **config})
        _json(folder / "preprocessor_config.json", _processor(tokenizer))
        return text.format(
            frames=tokenizer.extent[0], channels=tokenizer.in_chans, side=tokenizer.extent[1],
            places=encoder.positions.shape[1],
        )

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``clip`` (B, C, T, H, W), normalised; with ``whole`` also ``hidden`` (B, N) bool of a plan of its own."""
        _, tokenizer = _parts(model)
        clip = batch[tokenizer.field]
        if not clip.is_floating_point():
            std, mean = (
                torch.tensor(v, dtype=torch.float64).view(-1, 1, 1, 1) for v in (tokenizer.std, tokenizer.mean)
            )
            clip = (clip.double() / 255 - mean) / std
        out = {"clip": clip}
        if self.whole:
            out["hidden"] = model.draw(_batch(model, clip)).plan(_plan_name(model)).hidden
        return out

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``features`` (B, N, D) with nothing hidden, or ``predicted`` (S, pixels of a cuboid)."""
        batch = _batch(model, inputs["clip"])
        if not self.whole:
            return {"features": model.scene(batch, {}).encode(model.exports, "clean").state}
        plan = MaskPlan.of_hidden(next(iter(model.layouts(batch).values())), inputs["hidden"])
        return {"predicted": next(iter(model(batch, plan, predictions=True)[1].values())).value}

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of transformers' model, which takes (B, T, C, H, W)."""
        clip = inputs["clip"].transpose(1, 2)
        model = loaded["model"].to(clip.dtype)
        with torch.inference_mode():
            if not self.whole:
                return {"features": model(pixel_values=clip).last_hidden_state}
            out = model(pixel_values=clip, bool_masked_pos=inputs["hidden"])
        return {"predicted": out.logits.flatten(0, 1)}


def _parts(model: Any) -> tuple[VideoEncoder, ClipTokenizer]:
    encoder, tokenizers = model.network(model.exports), list(model.tokenizers.values())
    if not isinstance(encoder, VideoEncoder) or not isinstance(tokenizers[0], ClipTokenizer):
        raise ExportError(
            f"'hf-videomae' holds encoder 'video-vit' on one stream 'tubelet'; this one is a {type(encoder).__name__}",
            hint="use --format safetensors",
        )
    (_, high, wide), (_, down, across) = tokenizers[0].extent, tokenizers[0].patch
    if high != wide or down != across:
        raise ExportError(
            f"transformers' VideoMAE knows square frames and cuboids; these are {high}x{wide} in cells of "
            f"{down}x{across} pixels", hint="use --format safetensors",
        )
    return encoder, tokenizers[0]


def _decoder(model: Any, encoder: VideoEncoder) -> TransformerDecoder:
    heads = [head for head in (getattr(o, "head", None) for o in model.objectives.values()) if head is not None]
    if len(heads) != 1 or not isinstance(heads[0], TransformerDecoder) or heads[0].embed.bias is not None:
        raise ExportError("whole=true needs one decoder as VideoMAE has it", hint="export the encoder: whole=false")
    head, block, own = heads[0], heads[0].blocks[0], encoder.blocks[0]
    line = sinusoid(head.embed.out_features, head.positions.shape[1])
    if not torch.allclose(head.positions[0].double().cpu(), line.double().cpu(), atol=1e-6):
        raise ExportError("transformers' VideoMAE numbers the places on a line; this decoder's positions are a grid's",
                          hint="export the encoder: whole=false")
    if head.norm.eps != _LAST_EPS:
        raise ExportError(
            f"the decoder's last norm has eps {head.norm.eps:g}, in transformers always {_LAST_EPS:g}",
            hint="train with last_eps=1e-5 of the head, or export the encoder: whole=false",
        )
    if (_eps(block), _bias(block)) != (_eps(own), _bias(own)):
        raise ExportError("transformers has one eps and one qkv_bias for encoder and decoder; these differ",
                          hint="export the encoder: whole=false")
    return head


def _eps(block: Any) -> float:
    return float(block.norm1.eps)


def _bias(block: Any) -> bool:
    return block.attn.qkv.bias is not None


def _config(encoder: VideoEncoder, tokenizer: ClipTokenizer) -> dict[str, Any]:
    block: Any = encoder.blocks[0]
    bias = _bias(block)
    return {
        "model_type": "videomae", "image_size": tokenizer.extent[1], "patch_size": tokenizer.patch[1],
        "num_channels": tokenizer.in_chans, "num_frames": tokenizer.extent[0], "tubelet_size": tokenizer.patch[0],
        "hidden_size": encoder.width, "num_hidden_layers": len(encoder.blocks),
        "num_attention_heads": block.attn.num_heads, "intermediate_size": block.mlp.fc1.out_features,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": _eps(block), "qkv_bias": bias, "qv_bias": bias,  # the name of transformers 4, and of 5
        "use_mean_pooling": isinstance(encoder.norm, nn.Identity), "torch_dtype": "float32",
    }


def _decoder_config(head: TransformerDecoder) -> dict[str, Any]:
    block: Any = head.blocks[0]
    return {
        "decoder_hidden_size": head.embed.out_features, "decoder_num_hidden_layers": len(head.blocks),
        "decoder_num_attention_heads": block.attn.num_heads,
        "decoder_intermediate_size": block.mlp.fc1.out_features,
    }


def _processor(tokenizer: ClipTokenizer) -> dict[str, Any]:
    side = tokenizer.extent[1]
    return {
        "image_processor_type": "VideoMAEImageProcessor", "do_resize": True, "size": {"shortest_edge": side},
        "do_center_crop": True, "crop_size": {"height": side, "width": side}, "resample": 3, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(tokenizer.mean),
        "image_std": list(tokenizer.std),
    }


def _batch(model: Any, clip: Tensor) -> Batch:
    ids = torch.arange(len(clip)).numpy()
    return Batch({_parts(model)[1].field: clip}, ids.astype("uint64"), ids * 0)


def _plan_name(model: Any) -> str:
    return str(next(iter(model.maskers)))


def _json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
