"""LightDecoder: up-sampling blocks from the coarsest map to pixels, with skips added (Tian et al. 2023)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask_image.spark.merge import merged_up
from mmask_image.spark.sync import SyncNorm

Merge = Literal["auto", "never", "always"]
_THIN = 96  # channels up to which convolutions of large maps are faster with channels last (measured)


class UpBlock(nn.Module):
    """Twice the size, half the channels: transposed 4x4 convolution, 3x3 convolution, norm, ReLU6, 3x3, norm.

    width: channels in; half of them come out. sync_bn: norm statistics over all ranks. merge: ``always``
    computes the first two convolutions, between which nothing happens, as one; ``never`` one after the
    other; ``auto`` chooses by arithmetic.
    """

    def __init__(self, width: int, *, sync_bn: bool = True, merge: Merge = "auto") -> None:
        super().__init__()
        norm = SyncNorm if sync_bn else nn.BatchNorm2d
        self.merge = merge
        self.up = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width // 2, 3, padding=1, bias=False)
        self.norm2 = norm(width // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C / 2, 2H, 2W)."""
        if self._merges(x):
            if x.shape[1] <= _THIN:
                x = x.contiguous(memory_format=torch.channels_last)
            y = merged_up(x, self.up, self.conv1)
        else:
            y = self.conv1(self.up(x))
        return self.norm2(self.conv2(F.relu6(self.norm1(y), inplace=True)))

    def _merges(self, x: Tensor) -> bool:
        """One product of kernels costs 324 C³, whatever the batch; it saves 16 C² at every position of x."""
        if self.merge != "auto":
            return self.merge == "always"
        return x.shape[0] * x.shape[2] * x.shape[3] * 16 > 324 * x.shape[1]


class LightDecoder(nn.Module):
    """A block for every halving between pixels and cells, then a 1x1 convolution to the channels.

    ups: blocks, log2 of a cell's side. width: channels at the coarsest map, a multiple of 2 ** ups.
    out_chans: channels of the picture. All norms are dense: the decoder sees no holes.
    """

    def __init__(
        self, *, ups: int, width: int, out_chans: int = 3, sync_bn: bool = True, merge: Merge = "auto"
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            UpBlock(width >> i, sync_bn=sync_bn, merge=merge) for i in range(ups)
        )
        self.proj = nn.Conv2d(width >> ups, out_chans, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The reference's: convolutions truncated normal (std .02, cut at 2), transposed ones Kaiming by
        fan-out, biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """maps: densified, from coarse to fine; each is added before the block that starts at its size.

        -> (B, out_chans, H, W).
        """
        x, *skips = maps
        for i, block in enumerate(self.blocks):
            if i and i <= len(skips):
                x = x + skips[i - 1]
            x = block(x)
        return self.proj(x)
