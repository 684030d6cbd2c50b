"""VideoMaeWeights: checkpoints of VideoMAE, in the reference's names and in those of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, TransformerDecoder, copy_parts, read_tensors
from mmask_video.vit import VideoEncoder

_HF_BLOCK = {
    "attention.output.dense.": "attn.proj.", "intermediate.dense.": "mlp.fc1.", "output.dense.": "mlp.fc2.",
    "layernorm_before.": "norm1.", "layernorm_after.": "norm2.",
}
_HF_QKV = "attention.attention."
_HF_FILES = {"query.bias": "q_bias", "value.bias": "v_bias"}  # names in transformers' files, whatever its modules have
# Start of a foreign name -> (part, start of ours); blocks are told apart by their first line.
_STARTS = {
    "videomae.embeddings.patch_embeddings.projection.": ("encoder", "patch_embed."),
    "videomae.layernorm.": ("encoder", "norm."),
    "videomae.encoder.layer.": ("encoder", "blocks."),
    "decoder.decoder_layers.": ("decoder", "blocks."),
    "embeddings.patch_embeddings.projection.": ("encoder", "patch_embed."),  # a VideoMAEModel has no prefix
    "encoder.layer.": ("encoder", "blocks."),
    "layernorm.": ("encoder", "norm."),
    "encoder.patch_embed.proj.": ("encoder", "patch_embed."),
    "patch_embed.proj.": ("encoder", "patch_embed."),
    "encoder.": ("encoder", ""),
    "encoder_to_decoder.": ("decoder", "embed."),
    "mask_token": ("decoder", "mask_token"),
    "decoder.head.": ("decoder", "pred."),
    "decoder.": ("decoder", ""),
    "blocks.": ("encoder", "blocks."),  # a fine-tuned checkpoint of the reference has no prefix
    "norm.": ("encoder", "norm."),
}
_HEADS = ("classifier.", "head.", "fc_norm.")
Parts = dict[str, dict[str, Tensor]]


class VideoMaeWeights:
    """Reads ``.pth`` files of the reference (MCG-NJU/VideoMAE) and ``.safetensors`` or ``.bin`` of transformers'
    ``VideoMAEForPreTraining`` and ``VideoMAEModel``; ``official`` names what is ours as the first of these does.

    All keep biases of queries and values apart and have none of keys; here the three lie in one vector, keys zero.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Foreign name -> tensor, on the host. A folder is one that transformers wrote. Raises CheckpointError."""
        return read_tensors(Path(path), inner=("model", "module"))

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a masked autoencoder of clips, or into its encoder alone.

        Yields a line for everything missing or unexpected. Raises CheckpointError for other shapes, before anything
        is copied.
        """
        encoder, decoder = _parts(model)
        if not isinstance(encoder, VideoEncoder):
            raise CheckpointError(f"these are weights of a ViT of clips, the model has a {type(encoder).__name__}")
        own = split(weights)
        if not own["encoder"].keys() & encoder.state_dict().keys():
            raise CheckpointError(
                f"none of the {len(weights)} tensors belongs to an encoder of clips",
                hint="is it a checkpoint of VideoMAE, or of transformers' VideoMAEForPreTraining?",
            )
        parts: dict[str, tuple[nn.Module, Mapping[str, Tensor]]] = {"encoder": (encoder, own["encoder"])}
        if decoder is not None and own["decoder"]:
            fixed = {"positions": cast(Tensor, decoder.positions)}  # a table, not in foreign files
            parts["decoder"] = (decoder, fixed | own["decoder"])
        elif decoder is not None:
            yield "missing: the decoder (the checkpoint is of an encoder alone)"
        elif own["decoder"]:
            yield f"unexpected: {len(own['decoder'])} tensors of a decoder"
        yield from copy_parts(parts)

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under transformers' names."""
        encoder, decoder = _parts(model)
        return self.official(encoder.state_dict(), {} if decoder is None else decoder.state_dict())

    @staticmethod
    def official(encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
        """Things by our names -> the same by transformers' names, queries, keys and values apart."""
        found: dict[str, Any] = {}
        for name, value in encoder.items():
            found |= _theirs(name, value, "videomae.encoder.layer.", {
                "patch_embed.": "videomae.embeddings.patch_embeddings.projection.", "norm.": "videomae.layernorm.",
            })
        for name, value in decoder.items():
            found |= _theirs(name, value, "decoder.decoder_layers.", {
                "embed.": "encoder_to_decoder.", "mask_token": "mask_token", "pred.": "decoder.head.",
                "norm.": "decoder.norm.",
            })
        return found


def in_files(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of transformers' modules -> by those of its files, which every version of it reads."""
    ends = {_HF_QKV + own: _HF_QKV + theirs for own, theirs in _HF_FILES.items()}
    found = {}
    for name, value in weights.items():
        end = next((one for one in ends if name.endswith(one)), None)
        found[name if end is None else name.removesuffix(end) + ends[end]] = value
    return found


def split(weights: Mapping[str, Tensor]) -> Parts:
    """Foreign names -> part -> our names, the three projections of attention in one matrix."""
    parts: Parts = {"encoder": {}, "decoder": {}}
    threes: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in weights.items():
        start = next((s for s in _STARTS if name.startswith(s)), None)
        if start is None or name.startswith(_HEADS):
            if not name.startswith(_HEADS):
                parts["encoder"][name] = value  # told of as unexpected
            continue
        part, ours = _STARTS[start]
        ours += name.removeprefix(start)
        if _HF_QKV in ours:
            block, _, rest = ours.partition(_HF_QKV)  # blocks.0. query.weight; files have q_bias for query.bias
            what = "bias" if rest in _HF_FILES.values() else rest.partition(".")[2]
            threes.setdefault((part, f"{block}attn.qkv.{what}"), {})[rest[0]] = value
        elif ours.endswith(("attn.q_bias", "attn.v_bias")):
            threes.setdefault((part, ours[:-6] + "qkv.bias"), {})[ours[-6]] = value
        else:
            parts[part][_block(ours)] = value
    for (part, ours), three in threes.items():
        zero = torch.zeros_like(next(iter(three.values())))
        parts[part][ours] = torch.cat([three.get(which, zero) for which in "qkv"])
    return parts


def _block(name: str) -> str:
    for theirs, ours in _HF_BLOCK.items():
        if f".{theirs}" in name:
            return name.replace(f".{theirs}", f".{ours}", 1)
    return name


def _theirs(name: str, value: Any, blocks: str, starts: Mapping[str, str]) -> dict[str, Any]:
    """One thing of ours under transformers' names; what is a fixed table has none."""
    for ours, theirs in starts.items():
        if name.startswith(ours):
            return {theirs + name.removeprefix(ours): value}
    if not name.startswith("blocks."):
        return {}
    number, _, rest = name.removeprefix("blocks.").partition(".")
    if rest.startswith("attn.qkv."):
        what = rest.rpartition(".")[2]
        names = ("query", "key", "value")
        pieces = [None] * 3 if value is None else value.chunk(3)
        return {
            f"{blocks}{number}.{_HF_QKV}{which}.{what}": piece
            for which, piece in zip(names, pieces, strict=True) if not (what == "bias" and which == "key")
        }
    for theirs, ours in _HF_BLOCK.items():
        if rest.startswith(ours):
            return {f"{blocks}{number}.{theirs}{rest.removeprefix(ours)}": value}
    return {}


def _parts(model: nn.Module) -> tuple[nn.Module, TransformerDecoder | None]:
    """(encoder, decoder or None) of a whole model, or of a network alone."""
    if not hasattr(model, "networks"):
        return model, None
    whole = cast("MaskedModel", model)
    heads = [m for m in whole.objectives.modules() if isinstance(m, TransformerDecoder)]
    return whole.encoder, heads[0] if heads else None
