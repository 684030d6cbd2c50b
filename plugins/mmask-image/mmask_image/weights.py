"""MaeWeights: checkpoints of the reference implementation of MAE, encoder alone or with its decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, TransformerDecoder, read_tensors, resize_positions

# Start of an official name -> start of ours, in the decoder. Names of the encoder are timm's and stay.
_DECODER = {
    "mask_token": "mask_token",
    "decoder_pos_embed": "positions",
    "decoder_embed.": "embed.",
    "decoder_blocks.": "blocks.",
    "decoder_norm.": "norm.",
    "decoder_pred.": "pred.",
}
_TABLES = ("pos_embed", "positions")
_HEADS = ("head.", "fc_norm.")  # a classifier of a fine-tuned checkpoint


class MaeWeights:
    """Reads (and gives back) the official names (``blocks.0.attn.qkv.weight``, ``decoder_pred.bias``, ...).

    Files: ``.pth`` with ``{"model": ..., "args": argparse.Namespace}`` or a plain state dict, read with
    ``weights_only`` and nothing but ``Namespace`` allowed beside tensors; or ``.safetensors``.
    Position tables of another grid are resized.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError for anything else than such a file."""
        return read_tensors(Path(path), inner=("model",))

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a masked autoencoder, or into its encoder alone.

        Yields a line for every tensor missing, unexpected or resized. Raises CheckpointError when no name
        fits, or for a tensor whose shape cannot be made to fit, before anything is copied.
        """
        encoder, decoder = _parts(model)
        own, other = split(weights)
        if not own.keys() & encoder.state_dict().keys():
            raise CheckpointError(
                f"none of the {len(weights)} tensors has the name of one of this encoder's",
                hint="is it a checkpoint of the reference MAE, or of a ViT in timm's names?",
            )
        lines: list[str] = []
        jobs = [_job(encoder, own, "encoder", lines)]
        if decoder is not None and other:
            jobs.append(_job(decoder, other, "decoder", lines))
        elif decoder is not None:
            lines.append("missing: the decoder (the checkpoint is of an encoder alone)")
        elif other:
            lines.append(f"unexpected: {len(other)} tensors of a decoder")
        for module, ready in jobs:
            module.load_state_dict(ready, strict=False)
        yield from lines

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under their official names."""
        encoder, decoder = _parts(model)
        return self.official(encoder.state_dict(), {} if decoder is None else decoder.state_dict())

    @staticmethod
    def official(encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
        """Things by the names of our encoder and decoder -> the same by official names."""
        back = {ours: theirs for theirs, ours in _DECODER.items()}
        return {**encoder, **{_rename(name, back) or name: value for name, value in decoder.items()}}


def split(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Official names -> (encoder by timm's names, decoder by ours). Fine-tuned heads are left out."""
    encoder: dict[str, Tensor] = {}
    decoder: dict[str, Tensor] = {}
    for name, value in weights.items():
        ours = _rename(name, _DECODER)
        if ours is not None:
            decoder[ours] = value
        elif not name.startswith(_HEADS):
            encoder[name] = value
    return encoder, decoder


def _rename(name: str, table: Mapping[str, str]) -> str | None:
    for start, ours in table.items():
        if name.startswith(start):
            return ours + name.removeprefix(start)
    return None


def _parts(model: nn.Module) -> tuple[nn.Module, TransformerDecoder | None]:
    """(encoder, decoder or None) of a whole model, or of a network alone."""
    if not hasattr(model, "networks"):
        return model, None
    whole = cast("MaskedModel", model)  # or a wrapper that passes its attributes on, as torch.compile's
    heads = [m for m in whole.objectives.modules() if isinstance(m, TransformerDecoder)]
    return whole.encoder, heads[0] if heads else None


def _job(
    module: nn.Module, weights: dict[str, Tensor], what: str, lines: list[str]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """What to copy into a module; adds to ``lines`` what does not match."""
    wanted, ready = module.state_dict(), {}
    for name, given in weights.items():
        if name not in wanted:
            lines.append(f"unexpected: {what} {name}")
            continue
        shape = wanted[name].shape
        value = given
        if given.shape != shape and name in _TABLES:
            lines.append(f"resized: {what} {name} from {given.shape[1]} to {shape[1]} rows")
            value = _table(cast(_Placed, module), given, shape)
        if value.shape != shape:
            raise CheckpointError(f"{what} {name} is {tuple(value.shape)}, the model has {tuple(shape)}")
        ready[name] = value
    lines.extend(f"missing: {what} {name}" for name in wanted if name not in weights)
    return module, ready


class _Placed(Protocol):
    """A module with a table of positions: both the encoder and the decoder."""

    prefix: int
    grid: tuple[int, ...]


def _table(module: _Placed, table: Tensor, shape: torch.Size) -> Tensor:
    prefix, grid = module.prefix, module.grid
    side = round((table.shape[1] - prefix) ** 0.5)
    if table.ndim != 3 or side * side != table.shape[1] - prefix or table.shape[2] != shape[2]:
        raise CheckpointError(
            f"a position table {tuple(table.shape)} cannot be resized to {tuple(shape)}",
            hint="only tables of square grids say what their grid was, and only the grid may change",
        )
    return resize_positions(table, (side, side), grid, prefix=prefix)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
