"""How each known layer type behaves on visible cells only: one `Rule` per type, and no other state.

Two forms of the same layers. ``tiles`` runs on the list of visible tiles (V, C, t, t); ``dense`` is the plain
twin on whole maps (B, C, H, W) whose hidden positions are 0, multiplied clean after every layer that could
fill them, which is how the reference simulates sparse convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from timm.layers import DropPath, LayerNorm, LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import LayerNorm2d as TorchvisionLayerNorm2d
from torchvision.ops import StochasticDepth
from torchvision.ops.misc import FrozenBatchNorm2d, Permute

from mmask_image.spark.cells import Cells
from mmask_image.spark.halo import halo
from mmask_image.spark.sync import SyncNorm
from mmask_image.spark.window import Window

Layer = Callable[[Any, Tensor, Cells, bool], Tensor]
Check = Callable[[Any], "str | None"]


@dataclass(frozen=True)
class Rule:
    """One layer type. Both functions take (module, x, cells, last); ``last`` says that channels come last.

    tiles: on visible tiles. dense: on a whole map that is 0 at hidden cells, and has to be so afterwards.
    check: what is wrong with this very layer, or None. turns: whether the layer moves the channel axis.
    """

    tiles: Layer
    dense: Layer
    check: Check = lambda module: None
    turns: bool = False


def clean(x: Tensor, cells: Cells, last: bool) -> Tensor:
    """Zero at hidden positions, also where x is not finite."""
    side = cells.side(x.shape[1 if last else 2])
    return x.masked_fill(cells.hidden(x, side, last=last).bool(), 0.0)


def _plain(module: nn.Module, x: Tensor, cells: Cells, last: bool) -> Tensor:
    """One position at a time: the layer itself."""
    return module(x)


def _plain_clean(module: nn.Module, x: Tensor, cells: Cells, last: bool) -> Tensor:
    return clean(module(x), cells, last)


def _conv_tiles(module: nn.Conv2d, x: Tensor, cells: Cells, last: bool) -> Tensor:
    window = Window.of(module)
    if max(window.reach) > x.shape[-1]:  # windows wider than tiles: the whole map costs less than the overlap
        return cells.tiles(module(cells.dense(x)))
    x = halo(x, cells, *window.reach)
    if module.groups == 1 and tuple(x.shape[2:]) == tuple(module.weight.shape[2:]):
        # one window a tile: a matrix product, three times as fast on a CPU as the convolution it is
        return F.linear(x.flatten(1), module.weight.flatten(1), module.bias)[:, :, None, None]
    return F.conv2d(x, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)


def _conv_dense(module: nn.Conv2d, x: Tensor, cells: Cells, last: bool) -> Tensor:
    """In place, as the reference does: a convolution's derivative does not need its output."""
    x = module(x)
    return x.masked_fill_(cells.hidden(x, cells.side(x.shape[2])).bool(), 0.0)


def _max_tiles(module: nn.MaxPool2d, x: Tensor, cells: Cells, last: bool) -> Tensor:
    window = Window.of(module)
    if max(window.reach) > x.shape[-1]:
        return cells.tiles(_max_dense(module, cells.dense(x), cells, last))
    x = halo(x, cells, *window.reach, float("-inf"))
    return F.max_pool2d(x, window.kernel, window.stride, 0, window.dilation)


def _max_dense(module: nn.MaxPool2d, x: Tensor, cells: Cells, last: bool) -> Tensor:
    """Hidden positions never win; after a ReLU that equals the reference's pooling over zeros."""
    hidden = cells.hidden(x, cells.side(x.shape[2])).bool()
    return clean(module(x.masked_fill(hidden, float("-inf"))), cells, last)


def _mean_tiles(module: nn.AvgPool2d, x: Tensor, cells: Cells, last: bool) -> Tensor:
    window = Window.of(module)
    if max(window.reach) == 0:
        return module(x)
    return cells.tiles(_mean_dense(module, cells.dense(x), cells, last))


def _mean_dense(module: nn.AvgPool2d, x: Tensor, cells: Cells, last: bool) -> Tensor:
    """The mean of the visible positions of each window (the reference divides by the whole window)."""
    seen = 1 - module(cells.hidden(x, cells.side(x.shape[2])))
    return clean(module(x) / seen.clamp_min(torch.finfo(x.dtype).tiny), cells, last)


def _batch_norm_dense(module: nn.Module, x: Tensor, cells: Cells, last: bool) -> Tensor:
    """Statistics over visible positions: they are gathered as (positions, C, 1, 1), normalised, put back."""
    hidden = cells.hidden(x, cells.side(x.shape[2]))[:, 0].bool()
    seen = ~hidden
    rows = module(x.permute(0, 2, 3, 1)[seen][:, :, None, None])
    out = x.new_zeros(x.shape[0], *x.shape[2:], x.shape[1], dtype=rows.dtype)
    out[seen] = rows[:, :, 0, 0]
    return out.permute(0, 3, 1, 2).contiguous()


def _drop_path_tiles(module: nn.Module, x: Tensor, cells: Cells, last: bool) -> Tensor:
    """All tiles of a sample are dropped together: the layer runs on a column of ones, one a sample."""
    return x * module(x.new_ones(cells.batch, 1, 1, 1)).index_select(0, cells.row)


def _check_window(module: nn.Module) -> str | None:
    return Window.of(module).fault()


def _check_conv(module: nn.Conv2d) -> str | None:
    if module.padding_mode != "zeros":
        return f"padding_mode='{module.padding_mode}' would read hidden or far positions"
    return _check_window(module)


def _check_pool(module: Any) -> str | None:
    if getattr(module, "return_indices", False):
        return "return_indices gives positions of a whole map"
    return _check_window(module)


def _check_depth(module: StochasticDepth) -> str | None:
    return None if module.mode == "row" else "mode='batch' has one draw for all samples; use mode='row'"


_POINT = Rule(_plain, _plain_clean)  # may fill holes (a bias, a shift)
_ZERO = Rule(_plain, _plain)  # f(0) = 0
_BATCH = Rule(_plain, _batch_norm_dense)
_DROP = Rule(_drop_path_tiles, _plain)

RULES: Mapping[type, Rule] = MappingProxyType({
    nn.Conv2d: Rule(_conv_tiles, _conv_dense, _check_conv),
    nn.MaxPool2d: Rule(_max_tiles, _max_dense, _check_pool),
    nn.AvgPool2d: Rule(_mean_tiles, _mean_dense, _check_pool),
    nn.BatchNorm2d: _BATCH,
    nn.SyncBatchNorm: _BATCH,
    SyncNorm: _BATCH,
    FrozenBatchNorm2d: _POINT,
    nn.LayerNorm: _POINT,  # of channels that come last
    LayerNorm: _POINT,
    LayerNorm2d: _POINT,
    TorchvisionLayerNorm2d: _POINT,
    nn.Linear: _POINT,
    Permute: replace(_ZERO, turns=True),
    DropPath: _DROP,
    StochasticDepth: replace(_DROP, check=_check_depth),
    **dict.fromkeys((nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU,
                     nn.Mish, nn.Hardswish, nn.Tanh, nn.Dropout), _ZERO),
    **dict.fromkeys((nn.Sigmoid, nn.Hardsigmoid), _POINT),
})
"""Layer type -> rule. Exact types: a subclass that changes ``forward`` needs its own."""
