"""SsastWeights: checkpoints of the reference implementation of SSAST (YuanGongND/ssast)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, MaskedObjective, copy_parts, read_tensors, resize_positions

# Start of an official name -> (part, start of ours)
_STARTS = {
    "v.patch_embed.proj.": ("encoder", "patch_embed."), "mask_embed": ("encoder", "mask_token"), "v.": ("encoder", ""),
    "cpredlayer.0.": ("discriminate", "layers.1."), "cpredlayer.2.": ("discriminate", "layers.3."),
    "gpredlayer.0.": ("generate", "layers.1."), "gpredlayer.2.": ("generate", "layers.3."),
}
_IGNORED = ("v.head.", "v.head_dist.", "mlp_head.", "p_input_", "p_t_dim", "p_f_dim")


class SsastWeights:
    """Reads ``.pth`` state dicts, with or without ``module.`` before the names, and ``.safetensors``. Positions of
    another number of patches along time are resized, if the number of bands is the same."""

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError."""
        found = read_tensors(Path(path), inner=("model",))
        return {name.removeprefix("module."): value for name, value in found.items()}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model, or its encoder alone; yields a line for what is missing, unexpected or resized."""
        own, modules = split(weights), parts_of(model)
        if "blocks.0.attn.qkv.weight" not in own["encoder"]:
            raise CheckpointError(f"none of the {len(weights)} tensors has a name of SSAST's")
        table, encoder = own["encoder"].get("pos_embed"), cast(Any, modules["encoder"])
        if table is not None and table.shape != encoder.pos_embed.shape:
            own["encoder"]["pos_embed"] = fit_positions(table, encoder)
            yield f"resized: encoder pos_embed from {table.shape[1]} to {encoder.pos_embed.shape[1]} rows"
        yield from (f"unexpected: {len(own[part])} tensors of the head '{part}'" for part in own
                    if own[part] and part not in modules)
        yield from copy_parts({part: (module, own[part]) for part, module in modules.items()})

    @staticmethod
    def official(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Things by part and our name -> the same by official names."""
        found: dict[str, Any] = {}
        for part, things in parts.items():
            back = {ours: theirs for theirs, (owner, ours) in _STARTS.items() if owner == part}
            for name, value in things.items():
                start = next(start for start in back if name.startswith(start))
                found[back[start] + name.removeprefix(start)] = value
        return found


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Part -> module, of a whole model or of an encoder alone."""
    if not hasattr(model, "networks"):
        return {"encoder": model}
    whole = cast("MaskedModel", model)
    found: dict[str, nn.Module] = {"encoder": whole.encoder}
    for name in ("discriminate", "generate"):
        objective: Any = dict(whole.objectives.items()).get(name)
        if isinstance(objective, MaskedObjective):
            found[name] = cast(nn.Module, objective.head)
    return found


def split(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Official names -> part -> our names."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "discriminate": {}, "generate": {}}
    for name, value in weights.items():
        if name.startswith(_IGNORED):
            continue
        start = next((start for start in _STARTS if name.startswith(start)), None)
        part, ours = _STARTS[start] if start is not None else ("encoder", name)
        parts[part][ours + (name.removeprefix(start) if start is not None else "")] = value
    return parts


def fit_positions(table: Tensor, encoder: Any) -> Tensor:
    """A position table of the same bands for the encoder's grid. Raises CheckpointError where the bands differ."""
    bands = encoder.grid[0]
    for prefix in (encoder.prefix, 2, 1):
        columns, rest = divmod(table.shape[1] - prefix, bands)
        if rest == 0 and table.shape[2] == encoder.width:
            places = resize_positions(table[:, prefix:].clone(), (bands, columns), encoder.grid)
            return torch.cat([table[:, : encoder.prefix], places], 1)
    raise CheckpointError(
        f"positions {tuple(table.shape)} do not fit {bands} bands of width {encoder.width}",
        hint="build the model with the checkpoint's bins and patch",
    )
