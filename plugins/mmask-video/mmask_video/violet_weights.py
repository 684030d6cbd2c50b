"""VioletWeights: checkpoints of the reference implementation of VIOLET (tsujuifu/pytorch_violet)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, MaskedObjective, copy_parts, read_tensors
from mmask_video.matching import Matching
from mmask_video.violet_starts import as_violet

# Start of an official name -> (part, start of ours)
_STARTS = {
    "enc_img.swin.": ("encoder", "swin."), "enc_img.norm.": ("encoder", "norm."),
    "enc_img.emb_cls": ("encoder", "cls"), "enc_img.emb_pos": ("encoder", "cells"),
    "enc_img.emb_len": ("encoder", "times"),
    "enc_txt.emb_txt.word_embeddings.": ("encoder", "embed.words."),
    "enc_txt.emb_txt.position_embeddings.": ("encoder", "embed.positions."),
    "enc_txt.emb_txt.token_type_embeddings.": ("encoder", "embed.types."),
    "enc_txt.emb_txt.LayerNorm.": ("encoder", "embed.norm."), "trsfr.layer.": ("encoder", "body.layers."),
    "fc_mtm.predictions.transform.dense.": ("words", "dense."),
    "fc_mtm.predictions.transform.LayerNorm.": ("words", "norm."),
    "fc_mtm.predictions.decoder.weight": ("words", "decoder.weight"), "fc_mtm.predictions.bias": ("words", "bias"),
    "fc_mvm.": ("cells", "layers."), "fc.": ("matching", "score."),
}
_LAYER = {
    "attention.output.dense.": "attention.out.", "attention.output.LayerNorm.": "norm1.",
    "intermediate.dense.": "feed.up.", "output.dense.": "feed.down.", "output.LayerNorm.": "norm2.",
}
_QKV = "attention.self."
_SAME = ("fc_mtm.predictions.decoder.bias",)  # tied to the bias beside it
_INDEX = "relative_position_index"  # a table that follows from the window
_ROWS = ("embed.words.weight", "decoder.weight", "bias")  # of words: ours may be more


class VioletWeights:
    """Reads ``.pt`` state dicts, with or without ``module.`` before the names, and ``.safetensors``; parts are the
    encoder, and the heads of the objectives ``words``, ``cells`` and ``matching`` where the model has them.

    Also what VIOLET starts from: a Video Swin, by torchvision's names (``swin3d_s``) or its authors', and a BERT by
    transformers', a file or a folder. Each fills its part and leaves the others alone; tables of more words than the
    BERT has keep their further rows.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. A folder is one that transformers wrote. Raises CheckpointError."""
        found = read_tensors(Path(path), inner=("model", "state_dict"), ignore=("meta",))
        return {name.removeprefix("module."): value for name, value in found.items()}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model; yields a line for everything missing or unexpected. Raises CheckpointError."""
        named, starts = as_violet(weights)
        modules, own = parts_of(model), split(named)
        if not own["encoder"].keys() & modules["encoder"].state_dict().keys():
            raise CheckpointError(
                f"none of the {len(weights)} tensors has a name of VIOLET's, a Video Swin's or a BERT's"
            )
        jobs: dict[str, tuple[nn.Module, Mapping[str, Tensor]]] = {}
        for part, module in modules.items():
            if starts and not own[part]:
                continue
            fixed = {name: value for name, value in module.state_dict().items() if name.endswith(_INDEX)}
            shared = {"decoder.bias"} & own[part].keys()
            jobs[part] = (module, fixed | {name: value for name, value in own[part].items() if name not in shared})
        yield from (f"unexpected: {len(own[part])} tensors of {part}" for part in own if own[part] and part not in jobs)
        yield from copy_parts(jobs, fit=_rows, spared=_others(modules, starts) if starts else ())

    @staticmethod
    def official(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Things by part and our name -> the same by official names, queries, keys and values apart."""
        found: dict[str, Any] = {}
        for part, things in parts.items():
            for name, value in things.items():
                found |= _theirs(part, name, value)
        return found


def _rows(module: nn.Module, name: str, given: Tensor, wanted: Tensor) -> tuple[Tensor, str]:
    """A table of fewer words than the model's: its further rows stay."""
    if name not in _ROWS or given.shape[1:] != wanted.shape[1:] or len(given) > len(wanted):
        return given, ""
    return torch.cat([given.to(wanted.dtype), wanted[len(given) :]]), f"{len(given)} of {len(wanted)} rows"


def _others(modules: Mapping[str, nn.Module], starts: tuple[str, ...]) -> set[str]:
    """Our names of what a file of a part is not asked for."""
    return {
        name for part, module in modules.items() for name in module.state_dict()
        if not any(theirs.startswith(starts) for theirs in _theirs(part, name, None))
    }


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Part -> module, of a whole model or of an encoder alone."""
    if not hasattr(model, "networks"):
        return {"encoder": model}
    whole = cast("MaskedModel", model)
    found: dict[str, nn.Module] = {"encoder": whole.encoder}
    for name, objective in whole.objectives.items():
        if isinstance(objective, Matching):
            found["matching"] = objective
        elif isinstance(objective, MaskedObjective) and name in ("words", "cells"):
            found[name] = cast(nn.Module, objective.head)
    return found


def split(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Official names -> part -> our names, the three projections of attention in one matrix."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "words": {}, "cells": {}, "matching": {}}
    threes: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        start = next((s for s in _STARTS if name.startswith(s)), None)
        if name in _SAME or name.endswith(_INDEX):
            continue
        if start is None:
            parts["encoder"][name] = value  # told of as unexpected
            continue
        part, ours = _STARTS[start]
        rest = name.removeprefix(start)
        if start == "trsfr.layer." and f".{_QKV}" in f".{rest}":
            number, _, which = rest.replace(_QKV, "", 1).partition(".")
            kind, _, what = which.partition(".")
            threes.setdefault(f"{ours}{number}.attention.qkv.{what}", {})[kind] = value
            continue
        parts[part][ours + _renamed(start, rest)] = value
    for ours, three in threes.items():
        parts["encoder"][ours] = torch.cat([three[kind] for kind in ("query", "key", "value")])
    return parts


def _renamed(start: str, rest: str) -> str:
    if start == "trsfr.layer.":
        number, _, inner = rest.partition(".")
        theirs = next((theirs for theirs in _LAYER if inner.startswith(theirs)), "")
        return f"{number}.{_LAYER.get(theirs, '')}{inner.removeprefix(theirs)}"
    if start == "enc_img.swin." and rest.startswith("layers."):
        _, stage, kind, *more = rest.split(".")
        if kind == "downsample":
            return ".".join(["features", str(2 * int(stage) + 1), *more])
        line = ".".join(["features", str(2 * int(stage)), *more])
        return line.replace(".mlp.fc1.", ".mlp.0.").replace(".mlp.fc2.", ".mlp.3.")
    return rest


def _theirs(part: str, name: str, value: Any) -> dict[str, Any]:
    start, (_, ours) = next(
        ((theirs, target) for theirs, target in _STARTS.items() if target[0] == part and name.startswith(target[1])),
        ("", ("", "")),
    )
    if not start or name.endswith(_INDEX):
        return {}
    rest = name.removeprefix(ours)
    if start == "trsfr.layer.":
        number, _, inner = rest.partition(".")
        if inner.startswith("attention.qkv."):
            what = inner.rpartition(".")[2]
            pieces = [None] * 3 if value is None else value.chunk(3)
            kinds = ("query", "key", "value")
            return {f"{start}{number}.{_QKV}{kind}.{what}": one for kind, one in zip(kinds, pieces, strict=True)}
        theirs, mine = next((t, o) for t, o in _LAYER.items() if inner.startswith(o))
        return {f"{start}{number}.{theirs}{inner.removeprefix(mine)}": value}
    if start == "enc_img.swin." and rest.startswith("features."):
        _, number, *more = rest.split(".")
        stage, odd = divmod(int(number), 2)
        inner = ".".join(["layers", str(stage), "downsample" if odd else "blocks", *more])
        rest = inner.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    return {start + rest: value}
