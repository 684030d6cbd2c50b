"""torchaudio: a state dict for ``torchaudio.models.wav2vec2_model``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import ExportError, Recipe
from mmask_audio.wav2vec2.export.clips import ClipExporter, convolutions, official_weights, put, reading
from mmask_audio.wav2vec2.names import torchaudio_names

_SNIPPET = '''\
import torch
from safetensors.torch import load_file
from torchaudio.models import wav2vec2_model

model = wav2vec2_model(
{arguments}
)
model.load_state_dict(load_file("model.safetensors"))
model.eval()
audio = torch.zeros(1, {samples})  # {rate} samples a second{normal}
features, _ = model(audio)  # model(audio, lengths) of a padded batch
print(tuple(features.shape))
'''


class TorchaudioExporter(ClipExporter):
    """``model.safetensors`` under the names of torchaudio's Wav2Vec2Model, without a head.

    Compared are its states at real frames of a padded batch. The vector that hides frames, the quantizer and the
    projections are for pretraining and left out: torchaudio has no place for them.
    """

    needs = ("torchaudio",)
    extra = "mmask-audio"

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for what is no wav2vec 2.0, or has an eps that torchaudio cannot be told."""
        weights, front, encoder = official_weights(model), convolutions(model), model.encoder
        parts, stack = encoder.stack.parts, encoder.stack.stack
        if parts.eps != 1e-5:
            raise ExportError(f"torchaudio's norms have eps 1e-5, this network's {parts.eps:g}", hint="use --format hf")
        put(torchaudio_names(weights), folder)
        conv = encoder.positions.conv
        shapes = zip(front.widths, front.arithmetic.kernels, front.arithmetic.strides, strict=True)
        arguments = {
            "extractor_mode": f"{front.norm}_norm", "extractor_conv_layer_config": list(shapes),
            "extractor_conv_bias": front.bias, "encoder_embed_dim": encoder.width,
            "encoder_projection_dropout": encoder.input_dropout.p, "encoder_pos_conv_kernel": conv.kernel_size[0],
            "encoder_pos_conv_groups": conv.groups, "encoder_num_layers": stack.depth,
            "encoder_num_heads": parts.heads, "encoder_attention_dropout": parts.attention_dropout,
            "encoder_ff_interm_features": parts.hidden, "encoder_ff_interm_dropout": parts.inner_dropout,
            "encoder_dropout": encoder.dropout.p, "encoder_layer_norm_first": encoder.pre_norm,
            "encoder_layer_drop": stack.layer_drop, "aux_num_out": None,
        }
        rate, normal = reading(recipe)
        return _SNIPPET.format(
            arguments="\n".join(f"    {name}={value!r}," for name, value in arguments.items()),
            samples=front.arithmetic.receptive + 9 * front.arithmetic.stride, rate=rate,
            normal=", mean 0, deviation 1" if normal else "",
        )

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same states of torchaudio's model."""
        model = loaded["model"].to(inputs["audio"].dtype)
        with torch.inference_mode():
            features, frames = model(inputs["audio"], inputs["length"])
        return {"features": features[torch.arange(features.shape[1])[None] < frames[:, None]]}
