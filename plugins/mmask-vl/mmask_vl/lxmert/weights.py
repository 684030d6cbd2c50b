"""LxmertWeights: checkpoints of the reference implementation and of transformers, whole or the encoder alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, MaskedObjective, read_tensors
from mmask_vl.lxmert.encoder import LxmertEncoder
from mmask_vl.lxmert.names import HF, OFFICIAL, STARTS, Place, places
from mmask_vl.lxmert.objects import ObjectTasks

_ROWS = ("embed.words.weight", "decoder.weight", "bias")  # rows that are vocabulary: ours may be padded
_MARK = "encoder.visn_fc.visn_fc.weight"
_TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
_SKIPPED = ("position_ids", "token_type_ids")


class LxmertWeights:
    """Reads ``.pt``, ``.pth`` and ``.bin`` state dicts, with or without ``module.`` before the names, ``.safetensors``,
    and folders of transformers. Parts are the encoder, and the heads of the objectives ``words``, ``matching``,
    ``objects`` and ``answers`` where the model has them. Tables of more words than the file has keep their
    further rows.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Published name -> tensor, on the host. Raises CheckpointError."""
        tensors = read_tensors(Path(path), inner=("model", "state_dict"))
        made = {_modern(name.removeprefix("module.")): value for name, value in tensors.items()}
        return {name: value for name, value in made.items() if not name.endswith(_SKIPPED)}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a masked model, or into an encoder alone.

        Yields a line for every tensor missing, unexpected or of fewer rows. Raises CheckpointError for names that are
        not LXMERT's and for a tensor of another shape, before anything is copied.
        """
        prefix = next((one for one in (OFFICIAL, HF, "") if one + _MARK in weights), None)
        if prefix is None:
            raise CheckpointError(f"none of the {len(weights)} tensors has a name of LXMERT's",
                                  hint="is it a checkpoint of airsplay/lxmert or of transformers?")
        own = {part: dict(module.named_parameters()) for part, module in parts_of(model).items()}
        absent = [part for part, start in STARTS.items() if not any(name.startswith(start) for name in weights)]
        where = places({part: tensors for part, tensors in own.items() if part not in absent}, prefix)
        lines = [f"missing: {part} (the file has none)" for part in absent if part in own]
        jobs = [
            _job(name, place, place.of(own), weights[name], lines) for name, place in where.items() if name in weights
        ]
        lines += [f"missing: {name}" for name in where if name not in weights and name not in _TIED]
        lines += _unexpected([name for name in weights if name not in where and name not in _TIED], own)
        with torch.no_grad():
            for into, value in jobs:
                into.copy_(value)
        yield from lines

    @staticmethod
    def official(parts: Mapping[str, Mapping[str, Any]], prefix: str = OFFICIAL) -> dict[str, Any]:
        """Tensors (or gradients) by part and our name -> the same by official names."""
        return {name: place.of(parts) for name, place in places(parts, prefix).items()}


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Part -> module, of a whole model or of an encoder alone. Raises CheckpointError for another network."""
    if isinstance(model, LxmertEncoder):
        return {"encoder": model}
    whole = cast("MaskedModel", model)
    if not isinstance(whole.encoder, LxmertEncoder):
        raise CheckpointError(f"these are weights of LXMERT, the model has a {type(whole.encoder).__name__}")
    found: dict[str, nn.Module] = {"encoder": whole.encoder}
    for name, objective in whole.objectives.items():
        if isinstance(objective, ObjectTasks):
            found["objects"] = objective
        elif isinstance(objective, MaskedObjective) and name in ("words", "matching", "answers"):
            found[name] = cast(nn.Module, objective.head)
    return found


def _job(name: str, place: Place, own: Tensor, given: Tensor, lines: list[str]) -> tuple[Tensor, Tensor]:
    if own.shape == given.shape:
        return own, given
    grows = place.name in _ROWS and own.ndim == given.ndim and own.shape[1:] == given.shape[1:]
    if grows and len(own) > len(given):
        lines.append(f"fewer rows: {name} has {len(given)} of {len(own)}")
        return own[: len(given)], given
    raise CheckpointError(
        f"{name} is {tuple(given.shape)}, the model has {tuple(own.shape)}",
        hint="build the model at the checkpoint's widths, depths, vocabulary and numbers of classes",
    )


def _unexpected(names: list[str], own: Mapping[str, Any]) -> Iterator[str]:
    """A line for each part that the model lacks, and for each other name."""
    for part, start in STARTS.items():
        count = sum(name.startswith(start) for name in names)
        if part not in own and count:
            yield f"unexpected: {count} tensors of {part}"
    lacking = tuple(start for part, start in STARTS.items() if part not in own)
    yield from (f"unexpected: {name}" for name in names if not name.startswith(lacking or ("\0",)))


def _modern(name: str) -> str:
    """Names of files that were made from TensorFlow's."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            return name.removesuffix(old) + new
    return name
