"""embed: the exported network's features of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmask.data.loader import Loader
from mmask.data.stream import open_stream
from mmask.errors import UsageError
from mmask.recipe.schema import DataSection, Recipe, Source
from mmask.train.features import collect
from mmask.train.precision import Precision, pick_device
from mmask.train.revive import load_model, load_resolved
from mmask.train.shortened import shortened
from mmask.train.source import with_dataset
from mmask.types import Sample

if TYPE_CHECKING:
    from mmask.plugin.host import Host

NO_LABEL = -1


@dataclass(frozen=True)
class Wanted:
    """What to embed. data: URLs; none are the run's own (``held_out``: its held-out ones). pool: ``auto`` is
    what the network itself pools, ``mean`` of the places, or ``cls``, the first prefix token."""

    data: tuple[str, ...] = ()
    held_out: bool = False
    pool: str = "auto"
    batch: int = 64
    workers: int = 0
    device: str = "auto"
    limit: int | None = None


class Labels:
    """Makes the field ``label`` of a sample's ``cls`` part, or of ``label`` in its ``json`` part; else -1."""

    def __call__(self, sample: Sample, keys: Any) -> Mapping[str, Any]:
        """``label``."""
        try:
            if "cls" in sample.parts:
                return {"label": int(sample.parts["cls"])}
            if "json" in sample.parts:
                return {"label": int(json.loads(sample.parts["json"])["label"])}
        except (KeyError, ValueError, TypeError):
            pass
        return {"label": NO_LABEL}


def embed(
    run: Path, host: Host, wanted: Wanted, tell: Callable[[str], None] | None = None
) -> dict[str, torch.Tensor]:
    """``features`` (N, D) float32, ``ids`` (N,) int64 (the bits of the uint64 sample ids) and, where every
    sample has one, ``labels`` (N,) int64; in stored order, nothing hidden, without augmentation.

    tell: receives a line about samples that could not be read and are therefore missing."""
    recipe = load_resolved(run, host).recipe
    precision = Precision.of(recipe.train.precision, pick_device(wanted.device))
    model = load_model(run, host)
    precision.prepare(model)
    section = section_of(recipe, host, wanted.data)
    if wanted.held_out and not section.val:
        raise UsageError(f"{run} has no held-out data", hint="give --data URL")
    stream = open_stream(section, seed=recipe.train.seed, val=wanted.held_out)
    with Loader(
        stream, labelled_decoders(recipe, host), batch_size=wanted.batch, workers=wanted.workers,
        seed=recipe.train.seed, evaluate=True, limit=wanted.limit, fault_budget=section.fault_budget,
    ) as loader:
        out = collect(model, precision, loader, pool=wanted.pool)
        faults = loader.faults
    if faults and tell is not None:
        last = faults[-1]
        tell(f"{len(faults)} samples could not be read and are missing, "
             f"for example {last.shard}:{last.key}: {last.reason}")
    known = out.pop("label")
    if bool((known != NO_LABEL).all()):
        out["labels"] = known
    return out


def section_of(recipe: Recipe, host: Host, data: Sequence[str]) -> DataSection:
    """The recipe's data section with ``data`` as its only source; as it is when there is none."""
    section = recipe.data
    if data:
        named = [Source(url=url, name=f"s{i}", weight=1.0) for i, url in enumerate(data)]
        section = section.model_copy(update={"train": named, "val": []})
    return with_dataset(section, host)


def labelled_decoders(recipe: Recipe, host: Host) -> dict[str, Any]:
    """The recipe's decoders, and `Labels`."""
    made: dict[str, Any] = {
        name: host.build("decoder", spec, where=f"data.decode.{name}") for name, spec in recipe.data.decode.items()
    }
    return {**shortened(made, recipe.data), "label": Labels()}


def write_features(path: Path, tensors: dict[str, torch.Tensor], about: Mapping[str, str]) -> None:
    """A safetensors file, with what it was made of in its metadata."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, aside, metadata=dict(about))
        aside.replace(path)
    except (OSError, SafetensorError) as error:  # the library's own kind for a full disk or a missing right
        with suppress(OSError):
            aside.unlink()
        raise UsageError(f"{path} cannot be written: {error}", hint="choose another --out") from error
