"""BeitWeights and SimmimWeights: checkpoints of the two references that replace patches in place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast

from torch import Tensor, nn

from mmask.api import LinearHead, MaskedModel, copy_parts
from mmask_image.swin import SwinEncoder
from mmask_image.weights import MaeWeights

_BUFFERS = ("relative_position_index", "attn_mask")  # computed from sizes, here as there
_DOWN = re.compile(r"layers\.(\d+)\.downsample\.")


class BeitWeights:
    """The reference of BEiT: timm's names for the encoder, ``mask_token``, ``lm_head``.

    Files as `MaeWeights` takes them; fine-tuned heads are left out.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError for anything but such a file."""
        return MaeWeights().read(path)

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model, or into its encoder alone. As `mmask_image.copying.copy_parts`."""
        encoder, head = _parts(model)
        own = {name: value for name, value in _learnt(weights).items() if not name.startswith("lm_head.")}
        found = {"encoder": (encoder, own)}
        if head is not None:
            found["head"] = (head, _renamed(weights, "lm_head.", "proj."))
        yield from copy_parts(found)

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under their official names."""
        encoder, head = _parts(model)
        out = dict(encoder.state_dict())
        return out if head is None else out | _renamed(head.state_dict(), "proj.", "lm_head.")


class SimmimWeights:
    """The reference of SimMIM: ``encoder.`` and a 1 x 1 convolution ``decoder.0`` before a pixel shuffle.

    The convolution's outputs are ordered (channel, row, column) there and (row, column, channel) here, and a
    Swin Transformer joins patches at the end of a stage there and at the start of the next here. Files as
    `MaeWeights` takes them.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError for anything but such a file."""
        return MaeWeights().read(path)

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a model, or into its encoder alone. As `mmask_image.copying.copy_parts`."""
        encoder, head = _parts(model)
        own = _learnt(_renamed(weights, "encoder.", ""))
        if isinstance(encoder, SwinEncoder):
            own = {_stage(name, 1): value for name, value in own.items()}
            if "mask_token" in own:
                own["mask_token"] = own["mask_token"].view(1, 1, 1, -1)
        found: dict[str, tuple[nn.Module, Mapping[str, Tensor]]] = {"encoder": (encoder, own)}
        if head is not None:
            theirs = _renamed(weights, "decoder.0.", "proj.")
            channels = cast("_Pictured", encoder).in_chans
            found["head"] = (head, {n: to_channel_last(v, channels) for n, v in theirs.items()})
        yield from copy_parts(found)

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under their official names."""
        encoder, head = _parts(model)
        state = encoder.state_dict()
        return self.official(encoder, state, {} if head is None else head.state_dict())

    @staticmethod
    def official(encoder: nn.Module, own: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Things by the names of our encoder and head -> the same by official names, in official shapes."""
        swin = isinstance(encoder, SwinEncoder)
        out = {"encoder." + (_stage(name, -1) if swin else name): value for name, value in own.items()}
        if swin and "encoder.mask_token" in out:
            out["encoder.mask_token"] = out["encoder.mask_token"].view(1, 1, -1)
        for name, value in head.items():
            there = to_channel_first(value, cast("_Pictured", encoder).in_chans)
            there = there[:, :, None, None] if there.ndim == 2 else there
            out["decoder.0." + name.removeprefix("proj.")] = there
        return out


def to_channel_last(value: Tensor, channels: int) -> Tensor:
    """Rows of a layer ordered (channel, row·column) -> (row·column, channel). (C·P, ...) -> (P·C, in) or (P·C,)."""
    value = value.flatten(1) if value.ndim > 1 else value
    return value.unflatten(0, (channels, -1)).transpose(0, 1).flatten(0, 1)


def to_channel_first(value: Tensor, channels: int) -> Tensor:
    """The inverse of `to_channel_last`, without the convolution's two last axes."""
    return value.unflatten(0, (-1, channels)).transpose(0, 1).flatten(0, 1)


class _Pictured(Protocol):
    """An encoder of pictures."""

    in_chans: int


def _parts(model: nn.Module) -> tuple[nn.Module, LinearHead | None]:
    """(encoder, head or None) of a whole model, or of a network alone."""
    if not hasattr(model, "networks"):
        return model, None
    whole = cast("MaskedModel", model)
    heads = [m for m in whole.objectives.modules() if isinstance(m, LinearHead)]
    return whole.encoder, heads[0] if heads else None


def _learnt(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without buffers and the head of a classifier."""
    return {
        name: value for name, value in weights.items()
        if not name.endswith(_BUFFERS) and not name.startswith(("head.", "fc_norm."))
    }


def _renamed(weights: Mapping[str, Tensor], start: str, ours: str) -> dict[str, Tensor]:
    """Those that start so, under another start."""
    return {ours + n.removeprefix(start): value for n, value in weights.items() if n.startswith(start)}


def _stage(name: str, by: int) -> str:
    """The stage of a patch merging, moved."""
    return _DOWN.sub(lambda found: f"layers.{int(found[1]) + by}.downsample.", name)
