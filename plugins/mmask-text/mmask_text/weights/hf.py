"""HfTextWeights: checkpoints by transformers' names, a folder or a file, encoder alone or with its word head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, read_tensors
from mmask_text.encoder import TextEncoder
from mmask_text.mlm import MlmHead
from mmask_text.weights.configs import config_options
from mmask_text.weights.names import FAMILIES, Family, Place, places

__all__ = ["HfTextWeights", "config_options", "family_of", "load_parts"]

_GROWS = ("embed.words.weight", "decoder.weight", "bias")  # rows that are vocabulary: ours may be padded
_SKIPPED = ("position_ids", "token_type_ids")  # buffers of older releases


class HfTextWeights:
    """Reads (and gives back) BERT, RoBERTa, MosaicBERT and ModernBERT by their published names.

    A folder with ``model.safetensors`` (or shards and their index, or ``pytorch_model.bin``), or one such file.
    Nothing is unpickled but tensors. Tables of more words than the vocabulary has keep their further rows.
    """

    def __init__(self) -> None:
        self._advice = "set the recipe's sizes to those of the checkpoint's config.json"

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Published name -> tensor, on the host. Raises CheckpointError for anything else than such a checkpoint."""
        path = Path(path)
        self._advise(path / "config.json")
        found = read_tensors(path)
        return {_modern(name): value for name, value in found.items() if not name.endswith(_SKIPPED)}

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a masked model, or into an encoder alone.

        Yields a line for every tensor missing, unexpected or of fewer rows. Raises CheckpointError when the names are
        of no known family, or for a tensor of another shape, before anything is copied.
        """
        encoder, head = _parts(model)
        try:
            yield from load_parts(encoder, head, weights, family_of(weights))
        except CheckpointError as error:
            raise CheckpointError(error.message, hint=error.hint or self._advice) from None

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors by the names of transformers' BERT or ModernBERT, whichever has its parts."""
        encoder, head = _parts(model)
        family = FAMILIES["bert" if encoder.parts.norm == "post" else "modernbert"]
        if encoder.parts.gated and encoder.parts.norm == "post":
            family = FAMILIES["mosaicbert"]
        own = {"encoder": encoder.state_dict(), "head": {} if head is None else dict(head.state_dict())}
        where = places(family, own["encoder"], own["head"])
        return {name: place.of(own[place.part]).detach().contiguous() for name, place in where.items()}

    def _advise(self, config: Path) -> None:
        """Keep what a recipe has to be told for this checkpoint, for the case that it does not fit."""
        if not config.is_file():
            return
        made = config_options(json.loads(config.read_text(encoding="utf-8")))
        told = {f"networks.encoder.{name}": value for name, value in made.encoder.items()}
        words = [f"{key}={json.dumps(value)}" for key, value in {"tokenize.text.size": made.size, **told}.items()]
        self._advice = "its config.json says " + " ".join(words)


def family_of(weights: Mapping[str, Tensor]) -> Family:
    """The family whose names these are. Raises CheckpointError when there is none."""
    best = [family for family in FAMILIES.values() if any(name.startswith(family.prefix) for name in weights)]
    for family in [*best, *FAMILIES.values()]:
        if any(prefix + mark in weights for mark in family.marks for prefix in (family.prefix, "")):
            return family
    raise CheckpointError(
        f"none of the {len(weights)} tensors has the name of a layer of {', '.join(FAMILIES)}",
        hint="is it a checkpoint of transformers?",
    )


def load_parts(
    encoder: TextEncoder, head: MlmHead | None, weights: Mapping[str, Tensor], family: Family
) -> Iterator[str]:
    """Copy one family's tensors into an encoder and, where both have one, a head. Yields what does not match."""
    own = {"encoder": dict(encoder.named_parameters()), "head": {} if head is None else dict(head.named_parameters())}
    where = places(family, own["encoder"], own["head"])
    if not any(name.startswith(family.prefix) for name in weights):  # of an encoder alone
        where = {name.removeprefix(family.prefix): place for name, place in where.items() if place.part == "encoder"}
    jobs: list[tuple[Tensor, Tensor]] = []
    lines: list[str] = []
    for name, place in where.items():
        if name in weights:
            jobs.append(_job(name, place, place.of(own[place.part]), weights[name], lines))
        elif not (place.part == "head" and name == family.bias):
            lines.append(f"missing: {name}")
    tied = {f"{family.decoder}.weight", f"{family.decoder}.bias", family.bias}
    lines += [f"unexpected: {name}" for name in weights if name not in where and name not in tied]
    if head is None and any(name.startswith(tuple(family.head.values())) for name in weights):
        lines.append("unexpected: a head of words")
    with torch.no_grad():
        for into, value in jobs:
            into.copy_(value)
    yield from lines


def _job(name: str, place: Place, own: Tensor, given: Tensor, lines: list[str]) -> tuple[Tensor, Tensor]:
    if own.shape == given.shape:
        return own, given
    grows = place.name in _GROWS and own.ndim == given.ndim and own.shape[1:] == given.shape[1:]
    if grows and len(own) > len(given):
        lines.append(f"fewer rows: {name} has {len(given)} of {len(own)}")
        return own[: len(given)], given
    raise CheckpointError(f"{name} is {tuple(given.shape)}, the model has {tuple(own.shape)}")


def _parts(model: nn.Module) -> tuple[TextEncoder, MlmHead | None]:
    """(encoder, its head of words or None) of a whole model, or of a network alone."""
    network: Any = cast("MaskedModel", model).encoder if hasattr(model, "networks") else model
    if not isinstance(network, TextEncoder):
        raise CheckpointError(f"these are weights of a text encoder, the model has a {type(network).__name__}")
    heads = [one for one in model.modules() if isinstance(one, MlmHead) and one.network_width == network.width]
    return network, heads[0] if heads else None


def _modern(name: str) -> str:
    """Names of files that were made from TensorFlow's."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            return name.removesuffix(old) + new
    return name
