"""Sharded tensors in a checkpoint: each rank writes its own parts, and any number of ranks reads what it needs.

`torch.distributed.checkpoint` with its safetensors storage: where a part lies in its tensor stands in the file's JSON
header, so nothing is pickled (torch's own metadata file is, and is neither written nor read).

    checkpoints/step-00001000/model/shard-00001-model-00001-of-00001.safetensors  one file a rank
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

Tensors = dict[str, torch.Tensor]


def split(tensors: Mapping[str, torch.Tensor]) -> tuple[Tensors, Tensors, dict[str, str]]:
    """-> sharded tensors, all others, and second name -> first name of sharded tensors that have two."""
    from torch.distributed.tensor import DTensor

    parts: Tensors = {}
    others: Tensors = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            others[name] = tensor
        elif id(tensor) in first:
            tied[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
            parts[name] = tensor
    return parts, others, tied


def write_parts(folder: Path, tensors: Tensors) -> None:
    """Write this rank's parts of sharded tensors, synced; every rank calls it, and all are done when it returns."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save

    save(
        {name: tensor.detach() for name, tensor in tensors.items()},
        storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
    )


def read_parts(folder: Path, like: Mapping[str, torch.Tensor] | None = None) -> Tensors:
    """Tensors by name: cut as those of ``like``, of which only this rank's parts are read, or put together on the
    host."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    found: Tensors = {}
    for name, about in stored.items():
        own = (like or {}).get(name)
        if own is not None and own.shape == about.size:  # type: ignore[union-attr]  # tensors alone are stored
            found[name] = torch.empty_like(own.detach())
        else:
            found[name] = torch.empty(about.size, dtype=about.properties.dtype)  # type: ignore[union-attr]  # likewise
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as it should be
        load(found, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return found
