"""Reading the tensors of a foreign checkpoint without running code from it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.errors import CheckpointError


def read_tensors(path: Path, *, inner: tuple[str, ...], ignore: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Name -> tensor of a ``.pth`` or ``.safetensors`` file, on the host.

    inner: keys under which a state dict may lie. ignore: entries that need not be tensors and are left out.
    Raises CheckpointError for a missing file, or one that holds anything but tensors, plain values and an
    ``argparse.Namespace``.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    found = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    for key in inner:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds no state dict")
    tensors = {name: value for name, value in found.items() if name not in ignore}
    other = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if other or not tensors:
        what = f"'{other[0]}' in it is no tensor" if other else "it is empty"
        raise CheckpointError(f"{path} holds no state dict: {what}")
    return tensors


def _pickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as tensors alone: {str(error).splitlines()[0]}",
            hint="only state dicts, plain values around them and argparse.Namespace are accepted",
        ) from error


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
