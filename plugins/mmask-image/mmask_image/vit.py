"""VisionEncoder: timm's VisionTransformer over the patches it is given, fixed sine-cosine positions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmask.api import (
    Block,
    Encoded,
    PlanError,
    RecipeError,
    Tokens,
    View,
    key_bias,
    product,
    sincos,
)
from mmask_image.export.dense import Dense, VitSizes, vit_dense
from mmask_image.states import block_taps, pool_states


class VisionEncoder(VisionTransformer):
    """A ViT (Dosovitskiy et al. 2020) that embeds and computes the kept patches only.

    width, depth, heads, mlp_ratio, qkv_bias: of the blocks. eps: of every LayerNorm. drop_path: rate of
    the last block, rising linearly. pool: what ``pooled`` is, the mean of the places or the [CLS] state.
    fast: large products through oneDNN on CPUs where it is the faster library; False is the plain twin.
    tokenizer (wired): offers ``patch``, ``image_size``, ``in_chans``, ``grid``.

    A subclass with timm's own names: ``state_dict()`` loads into ``timm.create_model("vit_...")`` of the
    same shape, and ``forward_features(image)``, timm's own code, is the plain twin of a forward pass that
    hides nothing. Positions are fixed (``pos_embed`` takes no gradient); the row of [CLS] is zero.
    """

    pos_embed: nn.Parameter  # timm has variants without these two; this class is none of them
    cls_token: nn.Parameter

    def __init__(
        self, *, width: int, depth: int, heads: int, tokenizer: Any, mlp_ratio: float = 4.0,
        eps: float = 1e-6, qkv_bias: bool = True, drop_path: float = 0.0,
        pool: Literal["mean", "cls"] = "mean", fast: bool = True,
    ) -> None:
        if width % heads:
            raise RecipeError(f"a ViT of width {width} cannot have {heads} heads")
        super().__init__(
            img_size=tokenizer.image_size, patch_size=tokenizer.patch, in_chans=tokenizer.in_chans,
            num_classes=0, embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias, drop_path_rate=drop_path, norm_layer=partial(nn.LayerNorm, eps=eps),
            weight_init="skip", block_fn=Block,
        )
        self.grid, self.fast = tuple(tokenizer.grid), fast
        self.pooling = pool  # ``pool`` is a method of timm's class
        self.image_size, self.patch = tuple(tokenizer.image_size), tuple(tokenizer.patch)
        self.in_chans = int(tokenizer.in_chans)
        self.pos_embed.requires_grad_(False)
        self.reset_parameters()

    @property
    def width(self) -> int:
        """Channels of a state."""
        return int(self.embed_dim)

    @property
    def prefix(self) -> int:
        """Tokens in front of the places: [CLS]."""
        return int(self.num_prefix_tokens)

    def units(self) -> list[nn.Module]:
        """Its blocks."""
        return list(self.blocks)

    @property
    def layer_taps(self) -> tuple[str, ...]:
        """The output of each block: what a weighted sum of layers runs over."""
        return tuple(f"block.{i}" for i in range(len(self.blocks)))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The reference's initialisation: every matrix Xavier-uniform, the patch convolution on its view as
        one (D, C·height·width) matrix, [CLS] N(0, .02), fixed positions."""
        self.pos_embed.copy_(sincos(self.width, self.grid, prefix=self.prefix)[None])
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(self.width, -1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def embed(self, values: Tensor) -> Tensor:
        """The patch convolution of some patches, as one matrix product. (B, K, p·p·C) -> (B, K, width)."""
        conv = self.patch_embed.proj
        weight = conv.weight.permute(0, 2, 3, 1).reshape(self.width, -1)  # pixels lie (row, column, channel)
        return product(values.to(weight.dtype), weight, conv.bias, fast=self.fast)

    def sequence(self, tokens: Tokens) -> Tensor:
        """(B, prefix + K, width): embedded patches with their positions, [CLS] in front."""
        layout, table = tokens.layout, self.pos_embed[0]
        if tokens.values is None or tokens.flat:
            raise PlanError("this encoder takes padded patches with values, not ids and not a flat batch")
        if layout.positions != len(table) - self.prefix:
            raise PlanError(f"an encoder for grid {self.grid} got a layout of {layout.positions} positions")
        x = self.embed(tokens.values)
        if layout.index is None:
            x = x + table[self.prefix :]
        else:
            rows = (layout.index.flatten() + self.prefix).to(table.device, non_blocking=True)
            x = x + table.index_select(0, rows).view_as(x)
        ahead = (self.cls_token + self.pos_embed[:, : self.prefix]).to(x.dtype)
        return torch.cat([ahead.expand(layout.batch, -1, -1), x], dim=1)

    def forward(  # type: ignore[override]  # timm's takes an image, this one a view of it
        self, view: View, *, taps: Sequence[str] = ()
    ) -> Encoded:
        """The states of the view's patches after the final norm.

        taps: ``block.i`` for the (B, prefix + K, width) output of block i, negative counted from the end.
        ``pooled`` is made in evaluation mode only, since no loss reads it.
        """
        layers = range(len(self.blocks))
        if view.visibility is not None and not all(view.visible(layer).full for layer in layers):
            raise PlanError("this encoder lets every patch see every other; the view restricts that")
        tokens, wanted = view.only(), block_taps(taps, len(self.blocks))
        x, layout = self.sequence(tokens), tokens.layout
        keys = key_bias(layout.valid, self.prefix, x.device)
        found: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks):
            x = block(x, keys, fast=self.fast)
            found |= {name: x for name in wanted.get(number, ())}
        x = self.norm(x)
        pooled = None if self.training else pool_states(x, self.prefix, layout.valid, self.pooling)
        return Encoded(layout, x, self.prefix, pooled, found)

    def dense(self) -> Dense:
        """The same network as timm makes it; what exporters start from."""
        block: Any = self.blocks[0]
        norm: Any = self.norm
        sizes = VitSizes(
            self.image_size, self.patch, self.in_chans, self.width, len(self.blocks), block.attn.num_heads,
            block.mlp.fc1.out_features, block.attn.qkv.bias is not None, norm.eps,
        )
        return vit_dense(self, sizes, pool=self.pooling)
