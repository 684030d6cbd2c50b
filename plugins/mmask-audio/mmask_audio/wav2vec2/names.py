"""Names of wav2vec 2.0's tensors in other codebases, and those of transformers, which are the ones used here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

PREFIX = "wav2vec2."
# older files of every codebase keep the two parts of the weight norm under these
_NORM = (("conv.weight_g", "conv.parametrizations.weight.original0"),
         ("conv.weight_v", "conv.parametrizations.weight.original1"))
_TOP = ("quantizer.", "project_q.", "project_hid.")
_FAIRSEQ = (
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"^(encoder\.layers\.\d+)\.self_attn\.", r"\1.attention."),
    (r"^(encoder\.layers\.\d+)\.self_attn_layer_norm\.", r"\1.layer_norm."),
    (r"^(encoder\.layers\.\d+)\.fc1\.", r"\1.feed_forward.intermediate_dense."),
    (r"^(encoder\.layers\.\d+)\.fc2\.", r"\1.feed_forward.output_dense."),
    (r"^quantizer\.vars$", "quantizer.codevectors"),
    (r"^final_proj\.", "project_hid."),
)
_TORCHAUDIO = ((r"^encoder\.feature_projection\.", "feature_projection."), (r"^encoder\.transformer\.", "encoder."))


def canonical(weights: Mapping[str, T]) -> dict[str, T]:
    """Tensors under transformers' names of a Wav2Vec2ForPreTraining, whichever codebase they come from.

    Known are transformers' Wav2Vec2Model and everything around it, torchaudio's Wav2Vec2Model, and fairseq's
    Wav2Vec2Model (also inside ``w2v_encoder.w2v_model.``). Other names stay as they are.
    """
    bare = {_strip(name): value for name, value in weights.items()}
    rename: Callable[[str], str] = str
    if any(name in bare for name in ("mask_emb", "post_extract_proj.weight")):
        rename = _by(_FAIRSEQ)
    elif any(name.startswith("encoder.transformer.") for name in bare):
        rename = _by(_TORCHAUDIO)
    return {_whole(rename(name)): value for name, value in bare.items()}


# names of `SpeechEncoder` -> those of transformers
_OURS = (
    (r"^feature_norm\.", "feature_projection.layer_norm."),
    (r"^projection\.", "feature_projection.projection."),
    (r"^mask_token$", "masked_spec_embed"),
    (r"^positions\.", "encoder.pos_conv_embed."),
    (r"^(stack\.)?norm\.", "encoder.layer_norm."),  # in front of the layers, or after them
    (r"^stack\.(layers\.\d+)\.attention\.(query|key|value|out)\.",
     lambda found: f"encoder.{found[1]}.attention.{'out' if found[2] == 'out' else found[2][0]}_proj."),
    (r"^stack\.(layers\.\d+)\.norm1\.", r"encoder.\1.layer_norm."),
    (r"^stack\.(layers\.\d+)\.norm2\.", r"encoder.\1.final_layer_norm."),
    (r"^stack\.(layers\.\d+)\.feed\.up\.", r"encoder.\1.feed_forward.intermediate_dense."),
    (r"^stack\.(layers\.\d+)\.feed\.down\.", r"encoder.\1.feed_forward.output_dense."),
)


def official(name: str) -> str:
    """transformers' name of a tensor of `SpeechEncoder`."""
    return f"{PREFIX}{_by(_OURS)(name)}"


def torchaudio_names(weights: Mapping[str, T]) -> dict[str, T]:
    """Of the encoder with its convolutions, from transformers' names to those of torchaudio's Wav2Vec2Model."""
    out: dict[str, T] = {}
    for name, value in weights.items():
        bare = name.removeprefix(PREFIX)
        if name.startswith(_TOP) or bare == "masked_spec_embed":
            continue  # for pretraining only
        if bare.startswith("feature_projection."):
            bare = f"encoder.{bare}"
        elif bare.startswith("encoder."):
            bare = f"encoder.transformer.{bare.removeprefix('encoder.')}"
        out[bare] = value
    return out


def _strip(name: str) -> str:
    for prefix in ("w2v_encoder.w2v_model.", PREFIX):
        name = name.removeprefix(prefix)
    return name


def _by(rules: Sequence[tuple[str, Any]]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        for pattern, there in rules:
            found, times = re.subn(pattern, there, name)
            if times:
                return found
        return name

    return rename


def _whole(name: str) -> str:
    for old, new in _NORM:
        if name.endswith(old):
            name = name.removesuffix(old) + new
    inner = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")
    return f"{PREFIX}{name}" if name.startswith(inner) else name
