"""TeraWeights: checkpoints of s3prl's Mockingjay and TERA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, copy_parts, read_tensors
from mmask_audio.frame_encoder import SpectrumHead

_TOP = {
    "input_representations.spec_transform.": "embed.", "input_representations.LayerNorm.": "norm.",
}
_LAYER = {
    "attention.output.dense.": "attention.out.", "attention.output.LayerNorm.": "norm1.",
    "intermediate.dense.": "feed.up.", "output.dense.": "feed.down.", "output.LayerNorm.": "norm2.",
}
_LAYERS, _QKV, _KINDS = "encoder.layer.", "attention.self.", ("query", "key", "value")
_HEAD = {"dense.": "dense.", "LayerNorm.": "norm.", "output.": "output."}
_SETTINGS = ("Settings", "Config", "Runner", "Args", "Optimizer")
_PARTS = {"Transformer.": "encoder", "SpecHead.": "head"}


class TeraWeights:
    """Reads the dictionaries that s3prl writes (``Transformer``, ``SpecHead``, and settings, which are plain values and
    left out), or flat names ``Transformer.encoder.layer.0...`` as ``.safetensors``."""

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Flat official name -> tensor, on the host. Raises CheckpointError."""
        path = Path(path)
        if path.suffix == ".safetensors":
            return read_tensors(path, inner=())
        found: dict[str, Tensor] = {}
        for part in _PARTS:
            name = part.removesuffix(".")
            try:
                tensors = read_tensors(path, inner=(name,), ignore=_SETTINGS)
            except CheckpointError:
                if part == "Transformer.":
                    raise
                continue
            found |= {f"{part}{key}": value for key, value in tensors.items()}
        return found

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model, or its encoder alone; yields a line for what is missing or unexpected."""
        own = split(weights)
        if not own["encoder"]:
            raise CheckpointError(f"none of the {len(weights)} tensors has a name of TERA's")
        modules = parts_of(model)
        yield from (f"unexpected: {len(own[part])} tensors of the {part}" for part in own
                    if own[part] and part not in modules)
        yield from copy_parts({part: (module, own[part]) for part, module in modules.items()})

    @staticmethod
    def official(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Things by part and our name -> the same by official names, queries, keys and values apart."""
        found: dict[str, Any] = {}
        for start, part in _PARTS.items():
            for name, value in parts.get(part, {}).items():
                found |= {start + theirs: one for theirs, one in _theirs(part, name, value).items()}
        return found


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Part -> module, of a whole model or of an encoder alone."""
    if not hasattr(model, "networks"):
        return {"encoder": model}
    whole = cast("MaskedModel", model)
    heads = [module for module in whole.objectives.modules() if isinstance(module, SpectrumHead)]
    return {"encoder": whole.encoder, **({"head": heads[0]} if heads else {})}


def split(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Official names -> part -> our names, the three projections of attention in one matrix."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "head": {}}
    threes: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        start = next((start for start in _PARTS if name.startswith(start)), None)
        if start is None:
            parts["encoder"][name] = value  # told of as unexpected
            continue
        part, rest = _PARTS[start], name.removeprefix(start)
        if rest.startswith(_LAYERS) and f".{_QKV}" in rest:
            number, _, inner = rest.removeprefix(_LAYERS).replace(_QKV, "", 1).partition(".")
            kind, _, what = inner.partition(".")
            threes.setdefault(f"body.layers.{number}.attention.qkv.{what}", {})[kind] = value
        else:
            parts[part][_ours(part, rest)] = value
    for ours, three in threes.items():
        parts["encoder"][ours] = torch.cat([three[kind] for kind in _KINDS])
    return parts


def _ours(part: str, name: str) -> str:
    if part == "head":
        return _swap(name, _HEAD)
    if name.startswith(_LAYERS):
        number, _, inner = name.removeprefix(_LAYERS).partition(".")
        return f"body.layers.{number}.{_swap(inner, _LAYER)}"
    return _swap(name, _TOP)


def _swap(name: str, table: Mapping[str, str]) -> str:
    start = next((start for start in table if name.startswith(start)), "")
    return table.get(start, "") + name.removeprefix(start)


def _theirs(part: str, name: str, value: Any) -> dict[str, Any]:
    back = {ours: theirs for theirs, ours in (_HEAD if part == "head" else _TOP).items()}
    if not name.startswith("body.layers."):
        return {_swap(name, back): value}
    number, _, inner = name.removeprefix("body.layers.").partition(".")
    if inner.startswith("attention.qkv."):
        what = inner.rpartition(".")[2]
        pieces = [None] * 3 if value is None else value.chunk(3)
        return {f"{_LAYERS}{number}.{_QKV}{kind}.{what}": one for kind, one in zip(_KINDS, pieces, strict=True)}
    return {f"{_LAYERS}{number}.{_swap(inner, {ours: theirs for theirs, ours in _LAYER.items()})}": value}
