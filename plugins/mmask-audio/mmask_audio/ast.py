"""SpectrogramEncoder: a ViT over patches of a spectrogram, with learned positions and a mask vector (AST, SSAST)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmask.api import (
    Block,
    Encoded,
    PlanError,
    RecipeError,
    Tokens,
    View,
    did_you_mean,
    key_bias,
    product,
)


class SpectrogramEncoder(nn.Module):
    """Patches, a learned vector in place of the replaced ones, learned positions, [CLS] and the distillation token in
    front, timm's blocks, a norm (Gong et al. 2021).

    width, depth, heads, mlp_ratio, qkv_bias, eps, drop_path: of the blocks. distilled: a second token in front, as DeiT
    has. std: of positions and tokens. pool: what ``pooled`` is, the ``mean`` of the places or of the tokens in front
    (``cls``); the reference fine-tunes on either. fast: large products through oneDNN on CPUs where it is the faster
    library; False is the plain twin. tokenizer (wired): offers ``patch`` and ``grid``.
    """

    def __init__(
        self, *, tokenizer: Any, width: int = 768, depth: int = 12, heads: int = 12, mlp_ratio: float = 4.0,
        qkv_bias: bool = True, eps: float = 1e-6, drop_path: float = 0.0, distilled: bool = True, std: float = 0.02,
        pool: Literal["mean", "cls"] = "mean", fast: bool = True,
    ) -> None:
        super().__init__()
        if pool not in ("mean", "cls"):
            raise RecipeError(f"pool is '{pool}'; it is mean or cls")
        self.pooling = pool
        if width % heads:
            raise RecipeError(f"a ViT of width {width} cannot have {heads} heads")
        self.width, self.fast, self.prefix = width, fast, 2 if distilled else 1
        self.grid, self.patch = tuple(tokenizer.grid), tuple(tokenizer.patch)
        norm: Any = partial(nn.LayerNorm, eps=eps)
        self.patch_embed = nn.Conv2d(1, width, self.patch, self.patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.dist_token = nn.Parameter(torch.empty(1, 1, width)) if distilled else None
        self.pos_embed = nn.Parameter(torch.empty(1, self.prefix + self.grid[0] * self.grid[1], width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=qkv_bias, drop_path=rate, norm_layer=norm) for rate in rates
        )
        self.norm = norm(width)
        self.reset_parameters(std)

    @torch.no_grad()
    def reset_parameters(self, std: float = 0.02) -> None:
        """Normal, cut off, for matrices, tokens and positions; Xavier-normal for the mask vector, as the reference."""
        for value in (self.cls_token, self.dist_token, self.pos_embed):
            if value is not None:
                nn.init.trunc_normal_(value, std=std)
        nn.init.xavier_normal_(self.mask_token)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def no_weight_decay(self) -> set[str]:
        """What timm's optimizers spare."""
        return {"pos_embed", "cls_token", "dist_token", "mask_token"}

    @property
    def layer_taps(self) -> tuple[str, ...]:
        """What the blocks see and the output of each: what a weighted sum of layers runs over."""
        return ("embedded", *(f"block.{i}" for i in range(len(self.blocks))))

    def embed(self, tokens: Tokens) -> Tensor:
        """(B, K, width): embedded patches, before anything is replaced and without positions."""
        if tokens.values is None or tokens.flat:
            raise PlanError("this encoder takes padded patches with values, not ids and not a flat batch")
        conv = self.patch_embed
        weight = conv.weight.flatten(1)
        return product(tokens.values.to(weight.dtype), weight, conv.bias, fast=self.fast)

    def units(self) -> list[nn.Module]:
        """Its blocks."""
        return list(self.blocks)

    def sequence(self, tokens: Tokens) -> Tensor:
        """(B, prefix + K, width): what the blocks see."""
        layout, table = tokens.layout, self.pos_embed
        if layout.positions != table.shape[1] - self.prefix:
            raise PlanError(f"an encoder for grid {self.grid} got a layout of {layout.positions} positions")
        x = self.embed(tokens)
        if tokens.replaced is not None:
            x = torch.where(tokens.replaced.to(x.device)[..., None], self.mask_token.to(x.dtype), x)
        places = table[:, self.prefix :]
        if layout.index is not None:
            rows = layout.index.flatten().to(table.device)
            x = x + places[0].index_select(0, rows).view_as(x)
        else:
            x = x + places
        ahead: list[Tensor] = [token for token in (self.cls_token, self.dist_token) if token is not None]
        front = torch.cat(ahead, 1) + table[:, : self.prefix]
        return torch.cat([front.expand(layout.batch, -1, -1).to(x.dtype), x], 1)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The states after the final norm. taps: ``embedded``, what the first block sees, and ``block.i``, the output
        of block i, negative counted from the end, all (B, prefix + K, width). ``pooled`` is made in evaluation mode.
        """
        names = {f"block.{i}": i % len(self.blocks) for i in range(-len(self.blocks), len(self.blocks))}
        names["embedded"] = -1
        unknown = [tap for tap in taps if tap not in names]
        if unknown:
            raise PlanError(f"no tap '{unknown[0]}'{did_you_mean(unknown[0], names)}",
                            hint=f"taps are embedded, and block.0 to block.{len(self.blocks) - 1} or block.-1")
        tokens = view.only()
        x, layout = self.sequence(tokens), tokens.layout
        keys = key_bias(layout.valid, self.prefix, x.device)
        found = {tap: x for tap in taps if names[tap] < 0}
        for number, block in enumerate(self.blocks):
            x = block(x, keys, fast=self.fast)
            found |= {tap: x for tap in taps if names[tap] == number}
        x = self.norm(x)
        return Encoded(layout, x, self.prefix, None if self.training else self._pooled(x, layout.valid), found)

    def _pooled(self, x: Tensor, valid: Tensor | None) -> Tensor:
        if self.pooling == "cls":
            return x[:, : self.prefix].mean(1)
        places = x[:, self.prefix :]
        if valid is None:
            return places.mean(1)
        share = valid.to(x.device, x.dtype) / valid.sum(1, keepdim=True).clamp_min(1).to(x.device)
        return (places * share[:, :, None]).sum(1)
