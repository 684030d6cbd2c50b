"""Golden files: numbers that a reference implementation produced, and how to compare with them.

A file ``<method>*.safetensors`` holds tensors named ``weights/...``, ``inputs/...``, ``outputs/...`` and
``grads/<loss>/<weight>``, computed in float64 and stored in float32; its metadata holds the configuration as
JSON. ``MMASK_GOLDEN`` names a folder to read instead of the copies beside a test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-6
"""Largest error in float64, relative to the largest magnitude of the tensor: storage rounding, with room."""


@dataclass(frozen=True)
class Golden:
    """One file. Floating-point tensors come back as float64, integers as they are.

    name: the file's stem. config: every dimension and option. grads: loss name -> weight name -> gradient.
    scalars: float64 values of scalar outputs, by output name.
    """

    name: str
    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    inputs: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]
    grads: Mapping[str, Mapping[str, torch.Tensor]]
    scalars: Mapping[str, float]


def golden_files(method: str, default: Path) -> list[Path]:
    """The files of a method, ``<method>.safetensors`` and ``<method><separator>*.safetensors``, sorted.

    default: the folder of copies, used unless ``MMASK_GOLDEN`` is set.
    """
    folder = Path(os.environ.get("MMASK_GOLDEN") or default)
    found = sorted(folder.glob(f"{method}*.safetensors"))
    return [path for path in found if not path.stem.removeprefix(method)[:1].isalpha()]


def load_golden(path: Path) -> Golden:
    """Read one file. Raises ValueError when its metadata holds no configuration."""
    from safetensors import safe_open

    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "inputs": {}, "outputs": {}, "grads": {}}
    with safe_open(str(path), framework="pt") as file:
        meta = file.metadata() or {}
        for key in file.keys():  # noqa: SIM118  # not a mapping
            part, _, name = key.partition("/")
            value = file.get_tensor(key)
            parts.setdefault(part, {})[name] = value.double() if value.is_floating_point() else value
    if "config" not in meta:
        raise ValueError(f"{path} has no 'config' in its metadata")
    grads: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in parts["grads"].items():
        loss, _, name = key.partition("/")
        grads.setdefault(loss, {})[name] = value
    return Golden(
        path.stem, json.loads(meta["config"]), parts["weights"], parts["inputs"], parts["outputs"], grads,
        json.loads(meta.get("scalars_float64", "{}")),
    )


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """max|got - want| / max|want|; of all-zero tensors, the largest magnitude of ``got``."""
    got, want = got.detach().double(), want.double()
    scale = float(want.abs().max()) if want.numel() else 0.0
    worst = float((got - want).abs().max()) if want.numel() else 0.0
    return worst / scale if scale > 0 else worst


def assert_close(name: str, got: torch.Tensor, want: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    """Fail with the name, the error and where it is largest, unless ``got`` agrees with ``want``."""
    assert tuple(got.shape) == tuple(want.shape), f"{name}: shape {tuple(got.shape)}, not {tuple(want.shape)}"
    error = relative_error(got, want)
    if not error <= tolerance:  # also when it is NaN
        place = int((got.detach().double() - want.double()).abs().argmax())
        raise AssertionError(f"{name}: relative error {error:.2e} > {tolerance:.0e}, at flat index {place}")
