"""ElectraWeights: ELECTRA's networks by transformers' names, one of them or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel
from mmask_text.encoder import TextEncoder
from mmask_text.mlm import MlmHead
from mmask_text.rtd import RtdHead
from mmask_text.weights.hf import HfTextWeights, load_parts
from mmask_text.weights.names import ELECTRA, places, rtd_names

_TABLES = "electra.embeddings."


@dataclass(frozen=True)
class Electra:
    """The parts of a model: the encoder (discriminator) with its head, the generator with its own."""

    encoder: TextEncoder
    rtd: RtdHead | None = None
    generator: TextEncoder | None = None
    words: MlmHead | None = None

    @staticmethod
    def of(model: nn.Module) -> Electra:
        """Of a whole model, or of an encoder alone. Raises CheckpointError for another network."""
        whole = hasattr(model, "networks")
        encoder: Any = cast("MaskedModel", model).encoder if whole else model
        if not isinstance(encoder, TextEncoder):
            raise CheckpointError(f"these are weights of a text encoder, the model has a {type(encoder).__name__}")
        if not whole:
            return Electra(encoder)
        made = cast("MaskedModel", model)
        rtd = next((one for one in made.modules() if isinstance(one, RtdHead)), None)
        others = [one for one in made.networks.values() if isinstance(one, TextEncoder) and one is not encoder]
        generator = others[0] if others else None
        width = None if generator is None else generator.width
        words = next((m for m in made.modules() if isinstance(m, MlmHead) and m.network_width == width), None)
        return Electra(encoder, rtd, generator, words)

    @property
    def shared(self) -> bool:
        """Whether both networks have one set of tables."""
        return self.generator is not None and self.generator.embed is self.encoder.embed


class ElectraWeights:
    """Reads (and gives back) ELECTRA as ElectraForPreTraining, ElectraForMaskedLM or ElectraModel name it, or both
    networks in one file under ``discriminator.`` and ``generator.``.

    A discriminator goes into the model's encoder (and head), a generator into its generator. Shared tables are taken
    from the discriminator. A generator alone may also start an encoder that has no generator beside it.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Published name -> tensor, from a folder or a file. Raises CheckpointError for anything else."""
        return HfTextWeights().read(path)

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a masked model, or into an encoder alone.

        Yields a line for every tensor missing or unexpected. Raises CheckpointError when the names are not ELECTRA's,
        or for a tensor of another shape.
        """
        parts = Electra.of(model)
        discriminator, generator = _networks(weights)
        if generator:
            yield from self._generator(parts, generator, tables=not (discriminator and parts.shared))
        if discriminator:
            yield from self._discriminator(parts, discriminator)
        if generator and discriminator and parts.shared:
            for name in generator:
                other = discriminator.get(name)
                if name.startswith(_TABLES) and (other is None or not torch.equal(generator[name], other)):
                    yield f"not taken: the generator's own {name}; the tables of this model are shared"

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The discriminator by the names of ElectraForPreTraining; of ElectraModel when it has no head."""
        return self.official(model, "discriminator")

    @staticmethod
    def official(
        model: nn.Module, network: str, of: Callable[[Tensor], Any] = lambda value: value.detach().contiguous()
    ) -> dict[str, Any]:
        """Published name -> ``of(parameter)`` of one network, ``discriminator`` or ``generator``."""
        parts = Electra.of(model)
        encoder = parts.encoder if network == "discriminator" else parts.generator
        if encoder is None:
            raise CheckpointError("this model has no generator")
        words = parts.words if network == "generator" else None
        own = {"encoder": _read(encoder, of), "head": {} if words is None else _read(words, of)}
        found = {name: place.of(own[place.part]) for name, place in places(ELECTRA, *own.values()).items()}
        if network == "discriminator" and parts.rtd is not None:
            found |= {name: of(value) for name, value in _rtd(parts.rtd).items()}
        return found

    @staticmethod
    def _discriminator(parts: Electra, weights: Mapping[str, Tensor]) -> Iterator[str]:
        head = {name: value for name, value in weights.items() if name.startswith("discriminator_predictions.")}
        yield from load_parts(parts.encoder, None, _without(weights, head), ELECTRA)
        own = {} if parts.rtd is None else _rtd(parts.rtd)
        for name in [*head, *(name for name in own if name not in head)]:
            if name not in own or name not in head:
                yield f"{'unexpected' if name not in own else 'missing'}: {name}"
            elif own[name].shape != head[name].shape:
                raise CheckpointError(f"{name} is {tuple(head[name].shape)}, the model has {tuple(own[name].shape)}")
            else:
                with torch.no_grad():
                    own[name].copy_(head[name])

    @staticmethod
    def _generator(parts: Electra, weights: Mapping[str, Tensor], *, tables: bool) -> Iterator[str]:
        encoder = parts.encoder if parts.generator is None else parts.generator
        lines = load_parts(encoder, parts.words, weights, ELECTRA)
        yield from (line for line in lines if tables or _TABLES not in line)


def _networks(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(discriminator, generator) by their own names, empty where there is none."""
    both = [
        {name.removeprefix(side): value for name, value in weights.items() if name.startswith(side)}
        for side in ("discriminator.", "generator.")
    ]
    if any(both):
        return both[0], both[1]
    if not any(name.startswith(("electra.", "discriminator_predictions.")) for name in weights):
        raise CheckpointError("none of the tensors has a name of ELECTRA's", hint="its names begin with 'electra.'")
    alone = any(name.startswith(("generator_predictions.", "generator_lm_head.")) for name in weights)
    return ({}, dict(weights)) if alone else (dict(weights), {})


def _rtd(head: RtdHead) -> dict[str, Tensor]:
    """Published name -> parameter of the discriminator's head."""
    own = dict(head.named_parameters())
    return {theirs: own[ours] for ours, theirs in rtd_names().items()}


def _read(module: nn.Module, of: Callable[[Tensor], Any]) -> dict[str, Any]:
    return {name: of(value) for name, value in module.named_parameters()}


def _without(weights: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name not in other}
