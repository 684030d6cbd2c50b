"""Precision and device: what numbers a step is computed in, and where."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from mmask.errors import UsageError
from mmask.types import Batch

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str, local: int = 0) -> torch.device:
    """``auto`` is this rank's GPU, else Apple's, else the CPU. Raises UsageError when it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device '{name}' is unknown", hint="use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, but torch sees no CUDA GPU", hint="use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' was asked for, but torch sees none", hint="use --device cpu")
    return torch.device("cuda", local) if device.type == "cuda" and device.index is None else device


@dataclass(frozen=True)
class Precision:
    """``fp32``, ``fp64``, or autocast to ``bf16`` or ``fp16`` with parameters in fp32.

    fp16 scales the loss (Micikevicius et al. 2018): ``scaler`` is off for every other precision.
    """

    name: str
    device: torch.device
    scaler: torch.amp.GradScaler

    @staticmethod
    def of(name: str, device: torch.device) -> Precision:
        """The precision ``name`` on ``device``."""
        if name == "fp64" and device.type == "mps":
            raise UsageError("fp64 does not exist on mps", hint="use --device cpu")
        return Precision(name, device, torch.amp.GradScaler(device.type, enabled=name == "fp16"))

    def prepare(self, model: torch.nn.Module, *, move: bool = True) -> torch.nn.Module:
        """The model on the device (unless it is still to be sharded there), in the parameters' type."""
        if move:
            model.to(self.device)
        return model.double() if self.name == "fp64" else model

    def cast(self, batch: Batch) -> Batch:
        """The batch on the device, floats in the parameters' type."""
        moved = batch.to(self.device)
        if self.name != "fp64":
            return moved
        return replace(moved, fields={name: _double(value) for name, value in moved.fields.items()})

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        kind = _AUTOCAST.get(self.name)
        return nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind)


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
