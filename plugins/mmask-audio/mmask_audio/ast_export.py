"""hf-ast: a folder that ``ASTModel.from_pretrained`` of transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import Batch, ExportError, Recipe
from mmask_audio.ast import SpectrogramEncoder
from mmask_audio.ast_weights import theirs_of
from mmask_audio.spectrogram import SpectrogramTokenizer

_SNIPPET = '''\
import torch
from transformers import ASTModel

model = ASTModel.from_pretrained(".").eval()
spectrogram = torch.zeros(1, {frames}, {bins})  # log-mel frames, minus mean, over {spread:g} deviations
features = model(spectrogram).last_hidden_state
print(tuple(features.shape))
'''


class AstExporter:
    """``config.json``, ``model.safetensors``, and ``preprocessor_config.json`` where the recipe's decoder computes what
    ASTFeatureExtractor does. Both sides are run on the same spectrograms, in float64; compared are the states of both
    tokens in front and of all patches. transformers' model knows no padding: it looks at every patch.
    """

    needs = ("transformers",)
    extra = "mmask-audio[hf]"
    dtype = "float64"
    tolerance = 1e-9

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for what is no SSAST, has one token in front, or patches that are not square."""
        from safetensors.torch import save_file

        encoder, tokenizer = _parts(model)
        weights = {
            name: value.detach().float().cpu().clone().contiguous()
            for name, value in theirs_of(encoder.state_dict()).items()
        }
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        _json(folder / "config.json", _config(encoder, tokenizer))
        heard = _heard(recipe, tokenizer)
        if heard is not None:
            _json(folder / "preprocessor_config.json", heard)
        spread = float(_options(recipe, tokenizer).get("spread", 1.0))
        return _SNIPPET.format(frames=tokenizer.frames, bins=tokenizer.bins, spread=spread)

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``spectrogram`` (B, frames, bins)."""
        return {"spectrogram": batch[_parts(model)[1].field]}

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``features`` (B, 2 + N, D): the encoder's states, with nothing hidden."""
        spectrogram = inputs["spectrogram"]
        ids = torch.arange(len(spectrogram)).numpy()
        batch = Batch({_parts(model)[1].field: spectrogram}, ids.astype("uint64"), ids * 0)
        return {"features": model.scene(batch, {}).encode(model.exports, "clean").state}

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of transformers' model."""
        spectrogram = inputs["spectrogram"]
        with torch.inference_mode():
            return {"features": loaded["model"].to(spectrogram.dtype)(spectrogram).last_hidden_state}


def _parts(model: Any) -> tuple[SpectrogramEncoder, SpectrogramTokenizer]:
    encoder, tokenizers = model.encoder, list(model.tokenizers.values())
    if not isinstance(encoder, SpectrogramEncoder) or not isinstance(tokenizers[0], SpectrogramTokenizer):
        raise ExportError(
            f"'hf-ast' holds encoder 'ast' on stream 'spectrogram'; this one is a {type(encoder).__name__}",
            hint="use --format safetensors",
        )
    if encoder.prefix != 2:
        raise ExportError("transformers' ASTModel has a distillation token; this encoder has none",
                          hint="use --format safetensors")
    if encoder.patch[0] != encoder.patch[1]:
        raise ExportError(
            f"transformers' ASTModel knows square patches only; these are {encoder.patch[0]} bins by "
            f"{encoder.patch[1]} frames", hint="use --format safetensors",
        )
    return encoder, tokenizers[0]


def _config(encoder: SpectrogramEncoder, tokenizer: SpectrogramTokenizer) -> dict[str, Any]:
    block: Any = encoder.blocks[0]
    eps: Any = encoder.norm.eps
    return {
        "architectures": ["ASTModel"], "model_type": "audio-spectrogram-transformer", "hidden_size": encoder.width,
        "num_hidden_layers": len(encoder.blocks), "num_attention_heads": block.attn.num_heads,
        "intermediate_size": block.mlp.fc1.out_features, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "layer_norm_eps": eps, "patch_size": encoder.patch[0],
        "qkv_bias": block.attn.qkv.bias is not None, "frequency_stride": encoder.patch[0],
        "time_stride": encoder.patch[1], "max_length": tokenizer.frames, "num_mel_bins": tokenizer.bins,
        "torch_dtype": "float32",
    }


def _options(recipe: Recipe, tokenizer: SpectrogramTokenizer) -> dict[str, Any]:
    """The options of the recipe's ``fbank`` decoder of this field; none where another one makes it."""
    for spec in recipe.data.decode.values():
        if spec.use == "fbank" and spec.options().get("field", "features") == tokenizer.field:
            return dict(spec.options())
    return {}


# Settings of the decoder that ASTFeatureExtractor has no option for, at the values that it computes with. The mean of a
# whole recording makes no difference where each frame's mean is taken off.
_FIXED: dict[str, Any] = {
    "window": "hanning", "frame_ms": 25.0, "shift_ms": 10.0, "low": 20.0, "high": 0.0, "preemphasis": 0.97,
    "remove_dc": True, "cmvn": False, "deltas": 0, "stats": None, "spread": 2.0,
}


def _heard(recipe: Recipe, tokenizer: SpectrogramTokenizer) -> dict[str, Any] | None:
    """Settings of ASTFeatureExtractor, or None where the run's features are others."""
    options = _options(recipe, tokenizer)
    defaults = {**_FIXED, "spread": 1.0}
    mean, std = options.get("mean"), options.get("std")
    same = all(options.get(name, defaults[name]) == value for name, value in _FIXED.items())
    if not same or not isinstance(mean, int | float) or not isinstance(std, int | float):
        return None
    return {
        "feature_extractor_type": "ASTFeatureExtractor", "feature_size": 1, "num_mel_bins": tokenizer.bins,
        "max_length": tokenizer.frames, "sampling_rate": int(options.get("rate", 16_000)), "do_normalize": True,
        "mean": float(mean), "std": float(std), "padding_value": 0.0, "return_attention_mask": False,
    }


def _json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
