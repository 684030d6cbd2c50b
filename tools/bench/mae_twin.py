"""The arithmetic of the reference MAE, written plainly with timm's parts: what the fast path runs against.

The order of operations is that of He et al.'s PyTorch code: every patch is embedded by a convolution,
positions are added, hidden patches are dropped by a gather, the decoder runs everywhere, the loss is weighed.
"""

from __future__ import annotations

from functools import partial

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mmask.api import sincos


class PlainMAE(nn.Module):
    """forward(image, noise) -> loss, with normalised pixels as the target."""

    def __init__(
        self, *, image_size: int = 224, patch: int = 16, width: int = 768, depth: int = 12, heads: int = 12,
        decoder_width: int = 512, decoder_depth: int = 8, decoder_heads: int = 16, ratio: float = 0.75,
    ) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.patch, self.ratio, grid = patch, ratio, (image_size // patch,) * 2
        self.patch_embed = PatchEmbed(image_size, patch, 3, width)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(sincos(width, grid, prefix=1)[None], requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(width, heads, 4.0, qkv_bias=True, norm_layer=norm) for _ in range(depth)
        )
        self.norm = norm(width)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder_width) * 0.02)
        table = sincos(decoder_width, grid, prefix=1)
        self.decoder_pos_embed = nn.Parameter(table[None], requires_grad=False)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_width, decoder_heads, 4.0, qkv_bias=True, norm_layer=norm)
            for _ in range(decoder_depth)
        )
        self.decoder_norm = norm(decoder_width)
        self.decoder_pred = nn.Linear(decoder_width, patch * patch * 3)

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """image: (B, 3, H, W), noise: (B, N) -> the loss."""
        latent, removed, restore = self.encode(image, noise)
        guess = self.decode(latent, restore)
        target = self.target(image)
        each = (guess - target).pow(2).mean(-1)
        return (each * removed).sum() / removed.sum()

    def encode(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(latent, 1 where removed, the order that undoes the shuffle)."""
        x = self.patch_embed(image) + self.pos_embed[:, 1:]
        batch, length, width = x.shape
        keep = int(length * (1 - self.ratio))
        shuffle = noise.argsort(1)
        restore = shuffle.argsort(1)
        x = x.gather(1, shuffle[:, :keep, None].expand(-1, -1, width))
        removed = torch.ones(batch, length, device=x.device)
        removed[:, :keep] = 0
        removed = removed.gather(1, restore)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x), removed, restore

    def decode(self, latent: Tensor, restore: Tensor) -> Tensor:
        """(B, N, values of a patch)."""
        x = self.decoder_embed(latent)
        batch, length = restore.shape
        tokens = self.mask_token.expand(batch, length + 1 - x.shape[1], -1)
        places = torch.cat([x[:, 1:], tokens], 1)
        places = places.gather(1, restore[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], places], 1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def target(self, image: Tensor) -> Tensor:
        """(B, N, values of a patch): each patch by its own mean and deviation."""
        batch, channels, high, wide = image.shape
        p = self.patch
        cut = image.reshape(batch, channels, high // p, p, wide // p, p)
        cut = torch.einsum("nchpwq->nhwpqc", cut).reshape(batch, -1, p * p * channels)
        mean, var = cut.mean(-1, keepdim=True), cut.var(-1, keepdim=True)
        return (cut - mean) / (var + 1e-6) ** 0.5
