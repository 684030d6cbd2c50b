"""PositionalConv: where a frame is, by a convolution over its neighbours."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class PositionalConv(nn.Module):
    """Relative positions: a grouped convolution over time with weight norm, then GELU.

    kernel: odd or even; as many zeros on either side as half of it, and the last frame of an even one is cut.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=2 * (kernel * width) ** -0.5)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        self.conv = weight_norm(conv, name="weight", dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.conv(x.transpose(1, 2))
        return F.gelu(out[:, :, : x.shape[1]]).transpose(1, 2)
