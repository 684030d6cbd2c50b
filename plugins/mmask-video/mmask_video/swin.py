"""VideoSwin: torchvision's Video Swin Transformer with a temporal stride of one, as VIOLET uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video.swin_transformer import SwinTransformer3d

from mmask.api import RecipeError


class FramesEmbed(nn.Module):
    """A convolution over pairs of frames that keeps their number: one frame of zeros is appended.

    patch_size: (2, height, width) of the kernel. The arguments are those torchvision calls with.
    """

    def __init__(
        self, patch_size: Sequence[int], in_channels: int = 3, embed_dim: int = 96,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.patch = tuple(patch_size)
        size, high, wide = self.patch
        self.proj = nn.Conv3d(in_channels, embed_dim, (size, high, wide), (1, high, wide))
        self.norm = norm_layer(embed_dim) if norm_layer else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, T, H / h, W / w, D); sides are padded with zeros to whole kernels."""
        below, right = (-size % step for size, step in zip(x.shape[3:], self.patch[1:], strict=True))
        x = self.proj(F.pad(x, (0, right, 0, below, 0, self.patch[0] - 1)))
        return self.norm(x.permute(0, 2, 3, 4, 1))


class VideoSwin(SwinTransformer3d):
    """A Video Swin (Liu et al. 2022) whose output has as many frames as its input, 1/32 of the side (four stages).

    width: channels of the first stage. depths, heads: of each stage. window, patch: (frames, height, width). The module
    names are torchvision's, so a state dict of ``swin3d_t`` and its like fits but for its head.
    """

    features: nn.Sequential

    def __init__(
        self, *, width: int = 96, depths: Sequence[int] = (2, 2, 18, 2), heads: Sequence[int] = (3, 6, 12, 24),
        window: Sequence[int] = (8, 7, 7), patch: Sequence[int] = (2, 4, 4), mlp_ratio: float = 4.0,
        drop_path: float = 0.2,
    ) -> None:
        odd = [(width << i, n) for i, n in enumerate(heads) if (width << i) % n]
        if len(depths) != len(heads) or odd:
            raise RecipeError(
                f"a Video Swin of width {width} with depths {tuple(depths)} and heads {tuple(heads)} cannot be",
                hint="one number of heads for each stage, and each divides width * 2^stage",
            )
        embed: Any = FramesEmbed
        super().__init__(
            list(patch), width, list(depths), list(heads), list(window), mlp_ratio=mlp_ratio,
            stochastic_depth_prob=drop_path, num_classes=1, patch_embed=embed,
        )
        self.head = nn.Identity()
        self.out_width = width * 2 ** (len(depths) - 1)
        self.stride = patch[1] * 2 ** (len(depths) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, T, H / stride, W / stride, out_width), sides rounded up."""
        return self.norm(self.features(self.patch_embed(x)))

    def units(self) -> list[nn.Module]:
        """The blocks of all stages."""
        return [block for stage in self.features if isinstance(stage, nn.Sequential) for block in stage]

    @torch.no_grad()
    def stages(self, x: Tensor) -> list[Tensor]:
        """The patch embedding and the output of every part after it, channels last: for looking inside."""
        found = [self.patch_embed(x)]
        for part in self.features:
            found.append(part(found[-1]))
        return found
