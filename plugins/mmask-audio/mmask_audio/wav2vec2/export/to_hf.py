"""hf: a folder that ``from_pretrained`` of transformers loads: Wav2Vec2Model, or Wav2Vec2ForPreTraining."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import ExportError, MaskPlan, Recipe
from mmask_audio.wav2vec2.contrast import SampledContrast
from mmask_audio.wav2vec2.export.clips import ClipExporter, as_batch, convolutions, official_weights, put, reading
from mmask_audio.wav2vec2.names import PREFIX
from mmask_audio.wav2vec2.weights import contrast_of

_SNIPPET = '''\
import torch
from transformers import {kind}

model = {kind}.from_pretrained(".").eval()
audio = torch.zeros(1, {samples})  # {rate} samples a second{normal}
features = model(audio).{answer}
print(tuple(features.shape))
'''
_EVERY = 3  # frames 0, 3, 6, ... are hidden when predictions are compared


class HfSpeechExporter(ClipExporter):
    """``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` for transformers.

    whole: quantizer and projections too, as a Wav2Vec2ForPreTraining; compared are its predictions and its codes at
    hidden frames, otherwise the states, at real frames of a padded batch.
    """

    needs = ("transformers",)

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for what is no wav2vec 2.0, or has no quantizer where ``whole`` asks for it."""
        weights, config = official_weights(model), _sizes(model)
        if self.whole:
            config |= _quantizer(model)
        else:
            own = {name: value for name, value in weights.items() if name.startswith(PREFIX)}
            weights = {name.removeprefix(PREFIX): value for name, value in own.items()}
        put(weights, folder)
        kind = "Wav2Vec2ForPreTraining" if self.whole else "Wav2Vec2Model"
        _json(folder / "config.json", {"architectures": [kind], "model_type": "wav2vec2", **config,
                                       "torch_dtype": "float32"})
        rate, normal = reading(recipe)
        front = convolutions(model)
        _json(folder / "preprocessor_config.json", {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": rate,
            "padding_value": 0.0, "do_normalize": normal, "return_attention_mask": front.norm == "layer",
        })
        return _SNIPPET.format(
            kind=kind, samples=front.arithmetic.receptive + 9 * front.arithmetic.stride, rate=rate,
            normal=", mean 0, deviation 1" if normal else "",
            answer="projected_states" if self.whole else "last_hidden_state",
        )

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``features``; or ``predicted`` and ``codes`` at hidden frames."""
        if not self.whole:
            return super().ours(model, inputs)
        batch = as_batch(model, inputs)
        layout = next(iter(model.layouts(batch).values()))
        hidden = layout.maskable() & (torch.arange(layout.length)[None] % _EVERY == 0)
        scene = model.scene(batch, {name: MaskPlan.of_hidden(layout, hidden) for name in model.maskers})
        contrast = _contrast(model)
        said = contrast.predict(scene)
        return {"predicted": said.value, "codes": contrast.target(scene, said.scored).value}

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of transformers' model."""
        audio, length = inputs["audio"], inputs["length"]
        model = loaded["model"].to(audio.dtype)
        mask = (torch.arange(audio.shape[1])[None] < length[:, None]).long()
        inner = getattr(model, "wav2vec2", model)
        frames = inner._get_feat_extract_output_lengths(length)
        most = int(inner._get_feat_extract_output_lengths(audio.shape[1]))
        real = torch.arange(most)[None] < frames[:, None]
        with torch.inference_mode():
            if not self.whole:
                return {"features": model(audio, attention_mask=mask).last_hidden_state[real]}
            hidden = real & (torch.arange(most)[None] % _EVERY == 0)
            out = model(audio, attention_mask=mask, mask_time_indices=hidden)
        return {"predicted": out.projected_states[hidden], "codes": out.projected_quantized_states[hidden]}


def _contrast(model: Any) -> Any:
    found = contrast_of(model)
    if found is None:
        raise ExportError("whole=true needs the quantizer of wav2vec 2.0", hint="export the encoder alone: whole=false")
    return found


def _sizes(model: Any) -> dict[str, Any]:
    front, encoder = convolutions(model), model.encoder
    parts, stack = encoder.stack.parts, encoder.stack.stack
    conv = encoder.positions.conv
    return {
        "hidden_size": encoder.width, "num_hidden_layers": stack.depth, "num_attention_heads": parts.heads,
        "intermediate_size": parts.hidden, "hidden_act": "gelu", "layer_norm_eps": parts.eps,
        "do_stable_layer_norm": encoder.pre_norm, "conv_dim": list(front.widths),
        "conv_kernel": list(front.arithmetic.kernels), "conv_stride": list(front.arithmetic.strides),
        "num_feat_extract_layers": len(front.widths), "conv_bias": front.bias, "feat_extract_norm": front.norm,
        "feat_extract_activation": "gelu", "num_conv_pos_embeddings": conv.kernel_size[0],
        "num_conv_pos_embedding_groups": conv.groups, "feat_proj_dropout": encoder.input_dropout.p,
        "hidden_dropout": encoder.dropout.p, "attention_dropout": parts.attention_dropout,
        "activation_dropout": parts.inner_dropout, "layerdrop": stack.layer_drop,
    }


def _quantizer(model: Any) -> dict[str, Any]:
    contrast = _contrast(model)
    target = contrast.target
    out = {
        "num_codevector_groups": target.quantizer.groups, "num_codevectors_per_group": target.quantizer.entries,
        "codevector_dim": target.quantizer.width, "proj_codevector_dim": target.dim, "num_negatives": target.negatives,
        "feat_quantizer_dropout": target.dropout.p, "diversity_loss_weight": contrast.diversity,
    }
    if isinstance(contrast.loss, SampledContrast):
        out["contrastive_logits_temperature"] = contrast.loss.temperature
    return out


def _json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
