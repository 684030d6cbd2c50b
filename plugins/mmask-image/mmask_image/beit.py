"""BeitEncoder: timm's Beit over the patches it is given, for BEiT, SimMIM and CAE."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from timm.models.beit import Beit
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Encoded, PlanError, RecipeError, Tokens, View, key_bias
from mmask_image.beit_block import BeitBlock, initialise, row_sincos, truncated
from mmask_image.export.dense import Dense
from mmask_image.states import block_taps, pool_states


class BeitEncoder(Beit):
    """A ViT with biases of queries and values but not of keys, and layer scale (Bao et al. 2021).

    width, depth, heads, mlp_ratio, qkv_bias: of the blocks. eps: of every LayerNorm. layer_scale: initial factor
    of every residual branch; 0 leaves it out. drop_path: rate of the last block, rising linearly.
    positions: ``fixed`` sine-cosine table, rows in the first half of the channels (CAE); ``relative``: one
        learned bias of attention shared by all blocks, no table (BEiT, SimMIM).
    mask_token: whether it has one, written where the view replaces a place after embedding.
    start: ``rescaled``: N(0, .02) cut off at one deviation, the last matrix of both branches of block i divided
        by sqrt(2 i) (BEiT); ``xavier``: Xavier-uniform matrices (CAE).
    pool: what ``pooled`` is, the mean of the places or the [CLS] state.
    tokenizer (wired): offers ``patch``, ``image_size``, ``in_chans``, ``grid``.

    A subclass with timm's own names: without ``mask_token``, ``state_dict()`` loads into timm's ``Beit`` of
    the same shape with ``global_pool="token"``, whose ``forward_features(image)`` is the plain twin of a pass
    that hides nothing.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, tokenizer: Any, mlp_ratio: float = 4.0, eps: float = 1e-6,
        qkv_bias: bool = True, layer_scale: float = 0.1, drop_path: float = 0.0,
        positions: Literal["fixed", "relative"] = "relative", mask_token: bool = False,
        start: Literal["rescaled", "xavier"] = "rescaled", pool: Literal["mean", "cls"] = "mean",
    ) -> None:
        if width % heads:
            raise RecipeError(f"a ViT of width {width} cannot have {heads} heads")
        super().__init__(
            img_size=tokenizer.image_size, patch_size=tokenizer.patch, in_chans=tokenizer.in_chans,
            num_classes=0, global_pool="token", embed_dim=width, depth=depth, num_heads=heads,
            mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, drop_path_rate=drop_path, init_values=layer_scale or None,
            norm_layer=partial(nn.LayerNorm, eps=eps),  # type: ignore[arg-type]  # timm calls it
            use_abs_pos_emb=positions == "fixed",
            use_shared_rel_pos_bias=positions == "relative",
        )
        for block in self.blocks:  # timm's class has no argument for the class of its blocks
            block.__class__ = BeitBlock
        self.grid, self.pool, self.start = tuple(tokenizer.grid), pool, start
        self.mask_token = nn.Parameter(torch.empty(1, 1, width)) if mask_token else None
        if self.pos_embed is not None:
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

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay, as the reference has them."""
        return set(super().no_weight_decay()) | {"mask_token"}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The references' initialisation, see ``start``; patch convolution, [CLS] and mask token N(0, .02)."""
        if self.pos_embed is not None:
            self.pos_embed.copy_(row_sincos(self.width, self.grid, prefix=self.prefix)[None])
        initialise(self, self.blocks, self.start)
        truncated(self.patch_embed.proj.weight)
        if self.patch_embed.proj.bias is not None:
            nn.init.zeros_(self.patch_embed.proj.bias)
        truncated(self.cls_token)
        if self.mask_token is not None:
            truncated(self.mask_token)

    def dense(self) -> Dense:
        """The same network, without the mask token, as timm makes it; what exporters start from."""
        block: Any = self.blocks[0]  # by the names that timm has there
        embed = self.patch_embed
        args = {
            "img_size": list(embed.img_size), "patch_size": list(embed.patch_size),
            "in_chans": embed.proj.in_channels, "embed_dim": self.width, "depth": len(self.blocks),
            "num_heads": block.attn.num_heads, "mlp_ratio": block.mlp.fc1.out_features / self.width,
            "qkv_bias": block.attn.q_bias is not None, "init_values": None if block.gamma_1 is None else 0.1,
            "use_abs_pos_emb": self.pos_embed is not None, "use_rel_pos_bias": False,
            "use_shared_rel_pos_bias": self.pos_embed is None, "global_pool": "token",
        }
        weights = {name: value for name, value in self.state_dict().items() if name != "mask_token"}
        return Dense("timm", "beit_base_patch16_224", args, weights, self, self.forward_features, fixed=True)

    def embed(self, values: Tensor) -> Tensor:
        """The patch convolution of some patches, as one matrix product. (B, K, p·p·C) -> (B, K, width)."""
        conv = self.patch_embed.proj
        weight = conv.weight.permute(0, 2, 3, 1).reshape(self.width, -1)  # pixels lie (row, column, channel)
        return F.linear(values.to(weight.dtype), weight, conv.bias)

    def sequence(self, tokens: Tokens) -> Tensor:
        """(B, prefix + K, width): embedded patches or the mask token, fixed positions, [CLS] in front."""
        layout = tokens.layout
        if tokens.values is None or tokens.flat:
            raise PlanError("this encoder takes padded patches with values, not ids and not a flat batch")
        if layout.positions != self.patch_embed.num_patches:
            raise PlanError(f"an encoder for grid {self.grid} was given a layout of {layout.positions} positions")
        x = self.embed(tokens.values)
        if tokens.replaced is not None:
            if self.mask_token is None:
                raise PlanError(
                    "this view replaces places by a mask token; the encoder has none",
                    hint="set mask_token=true of the network, or use corruption 'drop'",
                )
            x = torch.where(tokens.replaced.to(x.device)[..., None], self.mask_token.to(x.dtype), x)
        ahead = self.cls_token.to(x.dtype).expand(layout.batch, -1, -1)
        x = torch.cat([ahead, x], dim=1)
        if self.pos_embed is None:
            return x
        rows = self._rows(tokens)
        return x + (self.pos_embed if rows is None else self.pos_embed[0][rows])

    def forward(  # type: ignore[override]  # timm's takes an image, this one a view of it
        self, view: View, *, taps: Sequence[str] = ()
    ) -> Encoded:
        """The states of the view's patches after the final norm.

        taps: ``block.i`` for the (B, prefix + K, width) output of block i, negative counted from the end.
        ``pooled`` is made in evaluation mode only, since no loss reads it.
        """
        if not view.visible(0).full:
            raise PlanError("this encoder lets every patch see every other; the view restricts that")
        tokens, wanted = view.only(), block_taps(taps, len(self.blocks))
        x, layout = self.sequence(tokens), tokens.layout
        found: dict[str, Tensor] = {}
        bias = self._bias(tokens, x)
        for number, block in enumerate(self.blocks):
            x = block(x, bias, ours=True)
            found |= {name: x for name in wanted.get(number, ())}
        x = self.norm(x)
        pooled = None if self.training else pool_states(x, self.prefix, layout.valid, self.pool)
        return Encoded(layout, x, self.prefix, pooled, found)

    def _rows(self, tokens: Tokens) -> Tensor | None:
        """(B, prefix + K): where every token lies in the sequence of [CLS] and the full grid; None for all."""
        index = tokens.layout.index
        if index is None:
            return None
        ahead = torch.arange(self.prefix).expand(len(index), -1)
        rows = torch.cat([ahead, index.cpu() + self.prefix], dim=1)
        return rows.to(self.cls_token.device, non_blocking=True)

    def _bias(self, tokens: Tokens, x: Tensor) -> Tensor | None:
        """What is added to the scores of attention, or bool keys that may be looked at; None for nothing."""
        keys = key_bias(tokens.layout.valid, self.prefix, x.device)
        if self.rel_pos_bias is None:
            return keys
        bias = self.rel_pos_bias()[None]  # (1, heads, 1 + N, 1 + N)
        rows = self._rows(tokens)
        if rows is not None:
            bias = bias[0][:, rows[:, :, None], rows[:, None, :]].transpose(0, 1)
        return bias if keys is None else bias.masked_fill(~keys, float("-inf"))
