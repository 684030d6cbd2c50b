"""SparkWeights: checkpoints of the reference implementation of SparK, with or without its decoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, read_tensors
from mmask_image.spark.head import SparkHead
from mmask_image.spark.names import CONVNEXT, HEAD, SAME, Table, rename

_ENCODER = "sparse_encoder.sp_cnn."
_UNUSED = ("imn_m", "imn_s", "norm_black", "config")  # buffers and notes the reference writes and never reads


class SparkWeights:
    """Reads (and gives back) the official names (``sparse_encoder.sp_cnn.conv1.weight``, ``mask_tokens.0``).

    Files: ``.pth`` of the reference, ``{"module": state dict, ...}`` or a state dict, of the whole model
    ("spark style") or the encoder alone ("timm style"); or ``.safetensors``. Read as tensors alone.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError for anything else than such a file."""
        found = read_tensors(Path(path), inner=("module", "model", "state_dict"), ignore=_UNUSED)
        return {name.removeprefix("module."): value for name, value in found.items()}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model with a `ConvEncoder`, or into such an encoder alone.

        Yields a line for every tensor missing or unexpected. Raises CheckpointError for a tensor whose shape
        does not fit, before anything is copied.
        """
        encoder, head = parts(model)
        own, other = self._split(encoder.net, weights)
        lines: list[str] = []
        jobs = [(encoder.net, _fit(encoder.net, own, "encoder", set(encoder.idle()), lines))]
        if head is not None and other:
            jobs.append((head, _fit(head, other, "decoder", set(), lines)))
        elif head is not None:
            lines.append("missing: the decoder (the checkpoint is of an encoder alone)")
        elif other:
            lines.append(f"unexpected: {len(other)} tensors of a decoder")
        for module, ready in jobs:
            module.load_state_dict(ready, strict=False)
        yield from lines

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under their official names."""
        encoder, head = parts(model)
        idle = set(encoder.idle())
        dense = {name: value for name, value in encoder.net.state_dict().items() if name not in idle}
        rest = {} if head is None else head.state_dict()
        return {name: shaped(name, value) for name, value in self.official(encoder.net, dense, rest).items()}

    @staticmethod
    def official(net: nn.Module, dense: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
        """Things by the names of our network and head -> the same by official names."""
        table = encoder_table(net)
        out = {_ENCODER + (rename(name, table, back=True) or name): value for name, value in dense.items()}
        return out | {rename(name, HEAD, back=True) or name: value for name, value in head.items()}

    @staticmethod
    def _split(net: nn.Module, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Official names -> (encoder by its library's names, head by ours)."""
        table, encoder, head = encoder_table(net), {}, {}
        alone = not any(name.startswith(_ENCODER) for name in weights)
        for name, value in weights.items():
            if name in _UNUSED:
                continue
            if name.startswith(_ENCODER) or alone:
                dense = name.removeprefix(_ENCODER)
                encoder[rename(dense, table) or dense] = value
            else:
                head[rename(name, HEAD) or name] = value
        return encoder, head


def parts(model: nn.Module) -> tuple[Any, SparkHead | None]:
    """(encoder, head or None) of a whole model, or of an encoder alone.

    Raises CheckpointError for a model without a `ConvEncoder`.
    """
    encoder: Any = model.encoder if hasattr(model, "networks") else model
    if not hasattr(encoder, "net") or not hasattr(encoder, "idle"):
        kind = type(encoder).__name__
        raise CheckpointError(f"SparK's weights are of a convolutional network, not of a {kind}")
    if encoder is model:
        return encoder, None
    heads = [module for module in cast("MaskedModel", model).objectives.modules() if isinstance(module, SparkHead)]
    return encoder, heads[0] if heads else None


def encoder_table(net: nn.Module) -> Table:
    """Official names of the encoder -> those of this network. A ResNet's are the same everywhere."""
    names = {name.split(".")[0] for name, _ in net.named_parameters()}
    for first, table in CONVNEXT.items():
        if first in names:
            return table
    return SAME


def shaped(name: str, value: Tensor) -> Tensor:
    """A tensor as the reference keeps it: vectors of hidden cells have three more axes, layer scales one."""
    if name.startswith("mask_tokens."):
        return value.view(1, -1, 1, 1)
    return value.flatten() if name.endswith(".gamma") else value


def _fit(
    module: nn.Module, weights: dict[str, Tensor], what: str, spared: set[str], lines: list[str]
) -> dict[str, Tensor]:
    wanted, ready = module.state_dict(), {}
    for name, value in weights.items():
        if name not in wanted:
            lines.append(f"unexpected: {what} {name}")
        elif value.numel() != wanted[name].numel() or not _alike(name, value, wanted[name]):
            shape = tuple(wanted[name].shape)
            raise CheckpointError(f"{what} {name} is {tuple(value.shape)}, the model has {shape}")
        else:
            ready[name] = value.view(wanted[name].shape)
    missing = [name for name in wanted if name not in weights and name not in spared]
    lines.extend(f"missing: {what} {name}" for name in missing)
    return ready


def _alike(name: str, given: Tensor, own: Tensor) -> bool:
    """Equal shapes, or vectors with axes of length 1 more or less."""
    return given.shape == own.shape or (
        re.search(r"(token|gamma|layer_scale)$", name) is not None and given.numel() == max(given.shape)
    )
