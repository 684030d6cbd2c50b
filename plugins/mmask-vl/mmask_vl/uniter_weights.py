"""UniterWeights: checkpoints of the reference implementation of UNITER (ChenRocks/UNITER)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, MaskedObjective, copy_parts, read_tensors
from mmask_vl.matching import ImageTextMatching
from mmask_vl.region_heads import RegionHead

# Start of an official name -> (part, start of ours)
_STARTS = {
    "uniter.embeddings.word_embeddings.": ("encoder", "embed.words."),
    "uniter.embeddings.position_embeddings.": ("encoder", "embed.positions."),
    "uniter.embeddings.token_type_embeddings.": ("encoder", "embed.types."),
    "uniter.embeddings.LayerNorm.": ("encoder", "embed.norm."),
    "uniter.img_embeddings.img_linear.": ("encoder", "embed_regions.features."),
    "uniter.img_embeddings.img_layer_norm.": ("encoder", "embed_regions.features_norm."),
    "uniter.img_embeddings.pos_linear.": ("encoder", "embed_regions.box."),
    "uniter.img_embeddings.pos_layer_norm.": ("encoder", "embed_regions.box_norm."),
    "uniter.img_embeddings.LayerNorm.": ("encoder", "embed_regions.norm."),
    "uniter.pooler.dense.": ("encoder", "pooler."),
    "uniter.encoder.layer.": ("encoder", "body.layers."),
    "cls.predictions.transform.dense.": ("words", "dense."), "cls.predictions.transform.LayerNorm.": ("words", "norm."),
    "cls.predictions.decoder.weight": ("words", "decoder.weight"), "cls.predictions.bias": ("words", "bias"),
    "feat_regress.net.0.": ("features", "dense."), "feat_regress.net.2.": ("features", "norm."),
    "feat_regress.bias": ("features", "bias"), "feat_regress.weight": ("features", "tied.weight"),
    "region_classifier.net.0.": ("classes", "dense."), "region_classifier.net.2.": ("classes", "norm."),
    "region_classifier.net.3.": ("classes", "out."), "itm_output.": ("matching", "score."),
}
_LAYER = {
    "attention.output.dense.": "attention.out.", "attention.output.LayerNorm.": "norm1.",
    "intermediate.dense.": "feed.up.", "output.dense.": "feed.down.", "output.LayerNorm.": "norm2.",
}
_BODY, _QKV = "uniter.encoder.layer.", "attention.self."
_HIDDEN = "uniter.img_embeddings.mask_embedding.weight"  # two rows: zeros for what is seen, ours for what is hidden
_TIED = {"features": ("tied.weight", "tied.bias")}  # other names of the encoder's projection of features
_OLD = {".gamma": ".weight", ".beta": ".bias"}  # names of norms in the oldest files


class UniterWeights:
    """Reads ``.pt`` state dicts, with or without ``module.`` before the names, of the whole pretraining model or of the
    encoder alone, and ``.safetensors``. Parts are the encoder and the heads that the model has."""

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError."""
        found = read_tensors(Path(path), inner=("model", "state_dict"))
        return {name.removeprefix("module."): value for name, value in found.items()}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model; yields a line for everything missing or unexpected. Raises CheckpointError."""
        own = split(weights)
        if not any(name.startswith("embed_regions.") for name in own["encoder"]):
            raise CheckpointError(f"none of the {len(weights)} tensors has a name of UNITER's")
        modules = parts_of(model)
        jobs = {part: (module, own[part] | _shared(part, module, own)) for part, module in modules.items()}
        yield from (f"unexpected: {len(own[part])} tensors of {part}" for part in own if own[part] and part not in jobs)
        yield from copy_parts(jobs)

    @staticmethod
    def official(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Tensors (or their gradients) by part and our name -> the same by official names."""
        found: dict[str, Any] = {}
        for part, things in parts.items():
            for name, value in things.items():
                found |= _theirs(part, name, value)
        return found


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Part -> module, of a whole model or of an encoder alone."""
    if not hasattr(model, "networks"):
        return {"encoder": model}
    whole = cast("MaskedModel", model)
    found: dict[str, nn.Module] = {"encoder": whole.encoder}
    for objective in whole.objectives.values():
        head = getattr(objective, "head", None)
        if isinstance(objective, ImageTextMatching):
            found["matching"] = objective
        elif isinstance(objective, MaskedObjective) and isinstance(head, nn.Module):
            kind = ("classes" if head.tied is None else "features") if isinstance(head, RegionHead) else "words"
            found.setdefault(kind, head)
    return found


def split(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Official names -> part -> our names; queries, keys and values in one matrix, one row of the hidden region's."""
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in ("encoder", "words", "features", "classes", "matching")}
    threes: dict[str, dict[str, Tensor]] = {}
    whole = any(name.startswith("uniter.") for name in weights)
    for given, value in weights.items():
        name = given if whole else f"uniter.{given}"
        for old, new in _OLD.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if name == _HIDDEN:
            parts["encoder"]["embed_regions.hidden"] = value[1]
            continue
        start = next((s for s in _STARTS if name.startswith(s)), None)
        if start is None:
            parts["encoder"][given] = value  # told of as unexpected
            continue
        part, ours = _STARTS[start]
        rest = name.removeprefix(start)
        if start == _BODY and f".{_QKV}" in f".{rest}":
            number, _, which = rest.replace(_QKV, "", 1).partition(".")
            kind, _, what = which.partition(".")
            threes.setdefault(f"{ours}{number}.attention.qkv.{what}", {})[kind] = value
            continue
        parts[part][ours + (_layer(rest) if start == _BODY else rest)] = value
    for ours, three in threes.items():
        if len(three) < 3:
            raise CheckpointError(f"of the three parts of {ours} the file has {sorted(three)}")
        parts["encoder"][ours] = torch.cat([three[kind] for kind in ("query", "key", "value")])
    return parts


def _shared(part: str, module: nn.Module, own: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What a head shares with the encoder, under the head's names: it is copied with the encoder."""
    wanted = [name for name in _TIED.get(part, ()) if name in module.state_dict()]
    if part == "words" and "decoder.weight" not in own["words"] and getattr(module, "tied", False):
        return {"decoder.weight": own["encoder"]["embed.words.weight"]}
    return {name: own["encoder"][f"embed_regions.features.{name.partition('.')[2]}"] for name in wanted}


def _layer(rest: str) -> str:
    number, _, inner = rest.partition(".")
    theirs = next((theirs for theirs in _LAYER if inner.startswith(theirs)), "")
    return f"{number}.{_LAYER.get(theirs, '')}{inner.removeprefix(theirs)}"


def _theirs(part: str, name: str, value: Any) -> dict[str, Any]:
    if name == "embed_regions.hidden":
        return {_HIDDEN: None if value is None else torch.stack([torch.zeros_like(value), value])}
    start, (_, ours) = next(
        ((theirs, target) for theirs, target in _STARTS.items() if target[0] == part and name.startswith(target[1])),
        ("", ("", "")),
    )
    if not start:
        return {}
    rest = name.removeprefix(ours)
    if start != _BODY:
        return {start + rest: value}
    number, _, inner = rest.partition(".")
    if inner.startswith("attention.qkv."):
        what = inner.rpartition(".")[2]
        pieces = [None] * 3 if value is None else value.chunk(3)
        kinds = ("query", "key", "value")
        return {f"{start}{number}.{_QKV}{kind}.{what}": one for kind, one in zip(kinds, pieces, strict=True)}
    theirs, mine = next((t, o) for t, o in _LAYER.items() if inner.startswith(o))
    return {f"{start}{number}.{theirs}{inner.removeprefix(mine)}": value}
