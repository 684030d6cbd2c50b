"""AstWeights: checkpoints of transformers' Audio Spectrogram Transformer (ASTModel), and its names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, copy_parts, read_tensors
from mmask_audio.ssast_weights import fit_positions

_TOP = {
    "embeddings.cls_token": "cls_token", "embeddings.distillation_token": "dist_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.bias",
    "layernorm.weight": "norm.weight", "layernorm.bias": "norm.bias",
}
_BLOCK = {
    "layernorm_before": "norm1", "layernorm_after": "norm2", "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
}
_KINDS = ("query", "key", "value")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
_PREFIX = "audio_spectrogram_transformer."
_OWN = ("mask_token",)  # transformers' model hides nothing


class AstWeights:
    """Reads ``model.safetensors`` (or ``pytorch_model.bin``) of an ASTModel, or of a classifier around one, whose last
    layer is left out. Positions of another number of patches along time are resized."""

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """transformers' name without the model's own prefix -> tensor, on the host. Raises CheckpointError."""
        found = read_tensors(Path(path))
        kept = {name: value for name, value in found.items() if not name.startswith("classifier.")}
        return {name.removeprefix(_PREFIX): value for name, value in kept.items()}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model's encoder, or an encoder; yields a line for what is missing, unexpected or resized.
        The mask vector stays as it is. Raises CheckpointError for names or shapes that are not those of such a model.
        """
        encoder: Any = cast("MaskedModel", model).encoder if hasattr(model, "networks") else model
        own = ours_of(weights)
        if "blocks.0.attn.qkv.weight" not in own:
            raise CheckpointError(f"none of the {len(weights)} tensors has a name of transformers' ASTModel")
        table = own.get("pos_embed")
        if table is not None and hasattr(encoder, "grid") and table.shape != encoder.pos_embed.shape:
            own["pos_embed"] = fit_positions(table, encoder)
            yield f"resized: encoder pos_embed from {table.shape[1]} to {encoder.pos_embed.shape[1]} rows"
        yield from copy_parts({"encoder": (encoder, own)})


def ours_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names -> ours; unknown names stay. Queries, keys and values become one matrix."""
    found: dict[str, Tensor] = {}
    threes: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            found[_TOP.get(name, name)] = value
            continue
        number, inner, what = match.groups()
        kind = inner.removeprefix("attention.attention.")
        if kind in _KINDS and kind != inner:
            threes.setdefault(f"blocks.{number}.attn.qkv.{what}", {})[kind] = value
        else:
            found[f"blocks.{number}.{_BLOCK.get(inner, inner)}.{what}"] = value
    for name, three in threes.items():
        missing = [kind for kind in _KINDS if kind not in three]
        if missing:
            raise CheckpointError(f"{name}: the checkpoint has no '{missing[0]}'")
        found[name] = torch.cat([three[kind] for kind in _KINDS])
    return found


def theirs_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse, without what transformers' model does not have."""
    top, block = ({ours: theirs for theirs, ours in table.items()} for table in (_TOP, _BLOCK))
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name in _OWN:
            continue
        if not name.startswith("blocks."):
            found[top[name]] = value
            continue
        number, _, rest = name.removeprefix("blocks.").partition(".")
        inner, _, what = rest.rpartition(".")
        at = f"encoder.layer.{number}."
        if inner == "attn.qkv":
            for kind, third in zip(_KINDS, value.chunk(3), strict=True):
                found[f"{at}attention.attention.{kind}.{what}"] = third
        else:
            found[f"{at}{block[inner]}.{what}"] = value
    return found
