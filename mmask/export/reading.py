"""Reading the tensors of a foreign checkpoint without running code from it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.errors import CheckpointError

_FILES = ("model.safetensors", "pytorch_model.bin")  # of a folder that transformers wrote
_INDEX = "model.safetensors.index.json"


def read_tensors(path: Path, *, inner: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Name -> tensor of a ``.pth`` or ``.safetensors`` file, on the host; or of a folder as transformers writes it,
    with one file or with several and their index.

    inner: keys under which a state dict may lie. ignore: entries that need not be tensors and are left out.
    Raises CheckpointError for a missing file, or one that holds anything but tensors, plain values and an
    ``argparse.Namespace``.
    """
    if path.is_dir():
        parts = [read_tensors(file, inner=inner, ignore=ignore) for file in _files(path)]
        return {name: value for part in parts for name, value in part.items()}
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    found: Any = read_safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
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


def _files(folder: Path) -> list[Path]:
    whole = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if whole is not None:
        return [whole]
    if not (folder / _INDEX).is_file():
        raise CheckpointError(f"{folder} has neither {' nor '.join(_FILES)}", hint="name the file itself")
    try:
        names = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _INDEX} is no index of tensors: {error}") from error
    return [folder / Path(name).name for name in sorted(names)]


def _pickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as tensors alone: {str(error).splitlines()[0]}",
            hint="only state dicts, plain values around them and argparse.Namespace are accepted",
        ) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor on the host. Raises CheckpointError for another kind of file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
