"""How many frames a stack of unpadded convolutions makes of a clip, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """kernels, strides: of the layers, first to last."""

    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Samples between the starts of two frames."""
        out = 1
        for step in self.strides:
            out *= step
        return out

    @property
    def receptive(self) -> int:
        """Samples that one frame reads: the shortest clip that has a frame."""
        out, step = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            out += (kernel - 1) * step
            step *= stride
        return out

    def frames(self, samples: Tensor | int, *, layers: int | None = None) -> Any:
        """Frames after the first ``layers`` convolutions (all of them by default). int, or (B,) int64 -> the same."""
        out: Any = samples
        for kernel, stride in list(zip(self.kernels, self.strides, strict=True))[:layers]:
            out = (out - kernel) // stride + 1
            out = out.clamp_min(0) if isinstance(out, Tensor) else max(0, out)
        return out
