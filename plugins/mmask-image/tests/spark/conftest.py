"""Tiny networks of every family, and choices of visible cells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn
from torchvision.models import convnext as tv_convnext
from torchvision.models import resnet as tv_resnet

from mmask_image.spark.cells import Cells

WIDTHS = (4, 6, 8, 10)


def _tv_convnext() -> nn.Module:
    settings = [
        tv_convnext.CNBlockConfig(a, b, 1) for a, b in zip(WIDTHS, (*WIDTHS[1:], None), strict=True)
    ]
    return tv_convnext.ConvNeXt(settings, 0.1, layer_scale=0.5, num_classes=3)


NETS: dict[str, Callable[[], nn.Module]] = {
    "timm-bottleneck": lambda: ResNet(Bottleneck, (1, 1, 1, 1), channels=WIDTHS, num_classes=3),
    "timm-basic": lambda: ResNet(
        BasicBlock, (2, 1, 1, 1), channels=WIDTHS, num_classes=3, drop_path_rate=0.3
    ),
    "timm-deep-avg": lambda: ResNet(
        BasicBlock, (1, 1, 1, 1), channels=WIDTHS, num_classes=3, stem_type="deep", stem_width=8,
        avg_down=True,
    ),
    "timm-convnext": lambda: ConvNeXt(
        depths=(1, 1, 2, 1), dims=WIDTHS, num_classes=3, ls_init_value=0.5, drop_path_rate=0.3
    ),
    "timm-convnext-conv": lambda: ConvNeXt(
        depths=(1, 1, 1, 1), dims=WIDTHS, num_classes=3, ls_init_value=None, conv_mlp=True
    ),
    "torchvision-resnet": lambda: tv_resnet.ResNet(tv_resnet.BasicBlock, [1, 1, 1, 1], num_classes=3),
    "torchvision-convnext": _tv_convnext,
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    """Random weights in float64, no norm or bias trivial."""
    torch.manual_seed(0)
    made = NETS[request.param]().double()
    for tensor in made.parameters():
        tensor.data.add_(0.1 * torch.randn_like(tensor))
    for name, tensor in made.named_buffers():
        if name.endswith("running_var"):
            tensor.data.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            tensor.data.normal_(0, 0.2)
    return made


@pytest.fixture
def visible() -> torch.Tensor:
    """Of three 3 x 2 grids, one with a single cell, one full."""
    seen = torch.tensor([[[1, 0], [0, 1], [1, 1]], [[0, 0], [1, 0], [0, 0]], [[1, 1]] * 3])
    return seen.bool()


@pytest.fixture
def cells(visible: torch.Tensor) -> Cells:
    return Cells.where(visible)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 3, 96, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
