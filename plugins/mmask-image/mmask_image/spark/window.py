"""Window: the geometry of a convolution or pooling layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Window:
    """A square window: its side, step, padding and dilation, in positions."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    square: bool = True
    ceil: bool = False

    @staticmethod
    def of(module: Any) -> Window:
        """The window of a Conv2d, MaxPool2d or AvgPool2d."""
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        dilation = _pair(getattr(module, "dilation", 1))
        padding = module.padding
        if padding == "same":
            padding = tuple(d * (k - 1) // 2 if d * (k - 1) % 2 == 0 else -1
                            for d, k in zip(dilation, kernel, strict=True))
        elif padding == "valid":
            padding = 0
        sides = (kernel, stride, _pair(padding), dilation)
        return Window(*(side[0] for side in sides), square=all(a == b for a, b in sides),
                      ceil=getattr(module, "ceil_mode", False))

    @property
    def reach(self) -> tuple[int, int]:
        """Positions that windows of a tile need before its first and after its last one."""
        return self.padding, max(0, self.dilation * (self.kernel - 1) + 1 - self.stride - self.padding)

    def fault(self) -> str | None:
        """Why tiles cannot be kept, or None. A map of n positions has to become exactly n / stride."""
        if not self.square:
            return "its window is not square"
        grown = 2 * self.padding - self.dilation * (self.kernel - 1) - 1
        least = 1 - 2 * self.stride if self.ceil else -self.stride
        if self.padding < 0 or not least <= grown <= (-self.stride if self.ceil else -1):
            return (f"a map of n positions would not become n / {self.stride} (kernel {self.kernel},"
                    f" padding {self.padding}, dilation {self.dilation})")
        return None


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if not isinstance(value, tuple | list) else (int(value[0]), int(value[1]))


def layer_stride(module: nn.Module) -> int:
    """How much coarser a layer makes the map; 1 for layers without windows."""
    return Window.of(module).stride if hasattr(module, "stride") and hasattr(module, "kernel_size") else 1
