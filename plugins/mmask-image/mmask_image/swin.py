"""SwinEncoder: timm's Swin Transformer with a mask token at its patch embedding (SimMIM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mmask.api import Encoded, PlanError, RecipeError, Tokens, View, unpatchify
from mmask_image.beit_block import truncated
from mmask_image.export.dense import Dense


class SwinEncoder(SwinTransformer):
    """A Swin Transformer (Liu et al. 2021) whose places are the cells of its last stage, 32 px for patches of 4.

    width, depths, heads: of the stages. window: side of a window, in patches. patch: pixels a patch. drop_path:
    rate of the last block, rising linearly. mask_token: whether it has one, written over every patch of a
    replaced place after embedding and its norm.
    tokenizer (wired): offers ``patch``, the pixels of a place; ``image_size``; ``in_chans``; ``grid``.

    A subclass with timm's own names: without ``mask_token``, ``state_dict()`` loads into timm's
    ``SwinTransformer`` of the same shape.
    """

    prefix = 0

    def __init__(
        self, *, tokenizer: Any, width: int = 96, depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24), window: int = 6, patch: int = 4, drop_path: float = 0.0,
        mlp_ratio: float = 4.0, mask_token: bool = True,
    ) -> None:
        if len(depths) != len(heads):
            raise RecipeError(f"{len(depths)} depths and {len(heads)} numbers of heads are not the same stages")
        stride = patch * 2 ** (len(depths) - 1)
        if tuple(tokenizer.patch) != (stride, stride):
            raise RecipeError(
                f"a place of this Swin is {stride} px a side; the tokenizer cuts {tuple(tokenizer.patch)}",
                hint=f"set the patch tokenizer's size to {stride}",
            )
        super().__init__(
            img_size=tokenizer.image_size, patch_size=patch, in_chans=tokenizer.in_chans, num_classes=0,
            embed_dim=width, depths=tuple(depths), num_heads=tuple(heads), window_size=window,
            mlp_ratio=mlp_ratio, drop_path_rate=drop_path,
        )
        self.grid, self.unit = tuple(tokenizer.grid), (stride, stride)
        self.factor, self.window = stride // patch, window
        self.mask_token = nn.Parameter(torch.empty(1, 1, 1, width)) if mask_token else None
        self.reset_parameters()

    @property
    def width(self) -> int:
        """Channels of a state."""
        return int(self.num_features)

    def units(self) -> list[nn.Module]:
        """The blocks of all stages."""
        stages: Any = self.layers
        return [block for stage in stages for block in stage.blocks]

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay, as the reference has them."""
        return set(super().no_weight_decay()) | {"mask_token"}

    def reset_parameters(self) -> None:
        """N(0, .02) for matrices, position biases and the mask token, zero biases; timm's for the patches."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.mask_token is not None:
            truncated(self.mask_token, 0.02)

    def dense(self) -> Dense:
        """The same network, without the mask token, as timm makes it; what exporters start from."""
        embed: Any = self.patch_embed  # by the names that timm has there
        stages: Any = self.layers
        blocks = [list(stage.blocks) for stage in stages]
        first = blocks[0][0]
        args = {
            "img_size": list(embed.img_size), "patch_size": embed.patch_size[0], "in_chans": self.in_chans,
            "embed_dim": int(self.embed_dim), "depths": [len(stage) for stage in blocks],
            "num_heads": [stage[0].attn.num_heads for stage in blocks], "window_size": self.window,
            "mlp_ratio": first.mlp.fc1.out_features / self.embed_dim, "global_pool": "avg",
        }
        weights = {name: value for name, value in self.state_dict().items() if name != "mask_token"}
        return Dense(
            "timm", "swin_tiny_patch4_window7_224", args, weights, self, self.forward_features,
            answer=self._laid_out, fixed=True,
        )

    def _laid_out(self, encoded: Encoded) -> Tensor:
        """(B, h, w, width): states as timm's Swin has them, channels last."""
        assert encoded.state is not None
        return encoded.state.unflatten(1, self.grid)

    def embedded(self, tokens: Tokens) -> Tensor:
        """(B, h, w, width): embedded 4 px patches, or the mask token at all those of a replaced place."""
        layout = tokens.layout
        if tokens.values is None or tokens.flat or layout.index is not None or layout.grid != self.grid:
            raise PlanError(
                "this encoder takes whole pictures of patches; places cannot be dropped from it",
                hint="use corruption 'token'",
            )
        x = self.patch_embed(unpatchify(tokens.values, self.grid, self.unit, self.in_chans).to(self._dtype))
        if tokens.replaced is None:
            return x
        if self.mask_token is None:
            raise PlanError("this view replaces places by a mask token; the encoder has none")
        cells = tokens.replaced.view(-1, *self.grid)
        cells = cells.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2)
        return torch.where(cells.to(x.device)[..., None], self.mask_token.to(x.dtype), x)

    def forward(  # type: ignore[override]  # timm's takes an image, this one a view of it
        self, view: View, *, taps: Sequence[str] = ()
    ) -> Encoded:
        """The states of the last stage after the final norm, (B, N, width), and the stages as ``pyramid``,
        (B, C, H, W) from fine to coarse. ``pooled`` is the mean over places, in evaluation mode."""
        if taps:
            raise PlanError(f"no tap '{taps[0]}'; the stages of this encoder are in Encoded.pyramid")
        if not view.visible(0).full:
            raise PlanError("this encoder has its own windows; the view restricts who sees whom")
        tokens = view.only()
        x, stages = self.embedded(tokens), []
        for stage in self.layers:
            x = stage(x)
            stages.append(x.permute(0, 3, 1, 2))
        x = self.norm(x).flatten(1, 2)
        pooled = None if self.training else x.mean(1)
        return Encoded(tokens.layout, x, pooled=pooled, pyramid=tuple(stages))

    @property
    def _dtype(self) -> torch.dtype:
        conv: Any = self.patch_embed.proj
        dtype: torch.dtype = conv.weight.dtype
        return dtype
