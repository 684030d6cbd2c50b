"""SparkHead: fills the holes of every map, decodes them together, predicts the pixels of hidden cells."""

from __future__ import annotations

from math import log2
from typing import Any, Literal

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from mmask.api import Encoded, PlanError, Prediction, RecipeError, Scored
from mmask_image.spark.cells import Cells, Gather
from mmask_image.spark.decoder import LightDecoder, Merge
from mmask_image.spark.sync import SyncNorm


class Densify(nn.Module):
    """One map without holes: norm over visible positions, a learned vector at hidden ones, a convolution.

    channels: of the map. width: of the decoder there. norm: ``bn`` (ResNet) or ``ln`` (ConvNeXt). kernel:
    side of the convolution; with 1 and equal widths there is none, as in the reference.
    """

    def __init__(self, channels: int, width: int, *, norm: str, kernel: int, sync_bn: bool = True) -> None:
        super().__init__()
        batch_norm = SyncNorm if sync_bn else nn.BatchNorm2d
        self.norm = batch_norm(channels) if norm == "bn" else LayerNorm2d(channels, eps=1e-6)
        self.token = nn.Parameter(torch.empty(channels))
        same = kernel == 1 and channels == width
        self.proj = nn.Identity() if same else nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        nn.init.trunc_normal_(self.token, std=0.02, a=-0.02, b=0.02)

    def forward(self, sparse: Tensor, cells: Cells) -> Tensor:
        """sparse: (B, C, H, W), read at visible cells only -> (B, width, H, W)."""
        return self.proj(cells.fill(self.norm(cells.tiles(sparse)), self.token))


class SparkHead(nn.Module):
    """The hierarchical decoder of SparK (Tian et al. 2023, section 3.2 and 3.3).

    width: decoder channels at the coarsest map, halved at every block. norm: ``bn`` or ``ln``, the kind the
    encoder has. sync_bn: norm statistics over all ranks. merge: see `UpBlock`; ``never`` is the plain twin.
    network (wired): offers ``channels``, ``strides`` and ``cell``. tokenizer (wired): offers ``in_chans``.
    target (wired): offers ``dim``, the pixels of a cell times channels.
    """

    def __init__(
        self, *, network: Any, tokenizer: Any, target: Any, width: int = 768,
        norm: Literal["bn", "ln"] = "bn", sync_bn: bool = True, merge: Merge = "auto",
    ) -> None:
        super().__init__()
        ups = int(log2(network.cell))
        _check(network, ups, width, norm)
        if getattr(target, "dim", None) != network.cell**2 * tokenizer.in_chans:
            raise RecipeError("this head predicts the pixels of cells; use the target 'values'")
        self.cell = network.cell
        self.densify = nn.ModuleList(
            Densify(channels, width >> i, norm=norm, kernel=3 if i else 1, sync_bn=sync_bn)
            for i, channels in enumerate(reversed(network.channels))
        )
        self.decoder = LightDecoder(
            ups=ups, width=width, out_chans=tokenizer.in_chans, sync_bn=sync_bn, merge=merge
        )

    def no_weight_decay(self) -> set[str]:
        """The vectors of hidden cells."""
        return {f"densify.{i}.token" for i in range(len(self.densify))}

    def dense_maps(self, encoded: Encoded) -> list[Tensor]:
        """What the decoder gets: maps without holes, from coarse to fine."""
        if encoded.plan is None or len(encoded.pyramid) != len(self.densify):
            raise PlanError(f"this head needs {len(self.densify)} maps and the plan they were made under")
        cells = Cells.of(encoded.plan, encoded.pyramid[0].device)
        pairs = zip(self.densify, reversed(encoded.pyramid), strict=True)
        return [densify(sparse, cells) for densify, sparse in pairs]

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, cell·cell·C), pixels ordered (row, column, channel)."""
        picture = self.decoder(self.dense_maps(encoded))
        grid = encoded.layout.grid
        index = scored.index
        if index is None:
            index = torch.arange(scored.layout.batch * scored.layout.length)
        tiles = Gather.apply(picture, index.to(picture.device, non_blocking=True), grid)
        return Prediction(tiles.permute(0, 2, 3, 1).flatten(1), scored)


def _check(network: Any, ups: int, width: int, norm: str) -> None:
    if norm not in ("bn", "ln"):
        raise RecipeError(f"norm is '{norm}'; it is 'bn' or 'ln'")
    count = len(network.channels)
    wanted = tuple(network.cell >> (count - 1 - i) for i in range(count))
    if 2**ups != network.cell or tuple(network.strides) != wanted or count > ups:
        raise RecipeError(f"strides of maps have to double up to a cell; they are {network.strides}")
    if width % 2**ups:
        raise RecipeError(f"a decoder width of {width} cannot be halved {ups} times")
