"""Convolutional networks of timm and torchvision by name, without a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from mmask.api import RecipeError, did_you_mean

Source = Literal["timm", "torchvision"]


def make_net(
    source: Source, name: str, *, in_chans: int = 3, drop_path: float = 0.0, stem: str = "full",
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A network with random weights, initialised as its library does.

    source: ``timm`` or ``torchvision``. drop_path: stochastic depth of the last block, rising linearly.
    stem: ``small`` replaces the stem of a ResNet by a 3x3 convolution that keeps the size, for small pictures
    (He et al. 2016, section 4.2); strides are then 1, 2, 4, 8. options: further arguments of the library's
    constructor (``{"layers": [1, 1, 1, 1]}``). Raises RecipeError.
    """
    makers = {"timm": _timm, "torchvision": _torchvision}
    if source not in makers:
        raise RecipeError(f"source is '{source}'; it is 'timm' or 'torchvision'")
    extra = {key: tuple(v) if isinstance(v, list) else v for key, v in (options or {}).items()}
    try:
        net = makers[source](name, in_chans, drop_path, extra)
    except TypeError as error:  # an option the constructor does not have
        raise RecipeError(f"{source} cannot make '{name}' with {extra}: {error}") from error
    if stem == "small":
        _shrink(net, in_chans)
    elif stem != "full":
        raise RecipeError(f"stem is '{stem}'; it is 'full' or 'small'")
    return net


def _timm(name: str, in_chans: int, drop_path: float, options: dict[str, Any]) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise RecipeError(f"timm has no model '{name}'{did_you_mean(name, timm.list_models())}")
    return timm.create_model(
        name, pretrained=False, num_classes=0, in_chans=in_chans, drop_path_rate=drop_path, **options,
    )


def _torchvision(name: str, in_chans: int, drop_path: float, options: dict[str, Any]) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise RecipeError(f"torchvision has no model '{name}'{did_you_mean(name, known)}")
    if in_chans != 3:
        raise RecipeError(f"torchvision's networks take 3 channels, not {in_chans}", hint="use source=timm")
    if drop_path:
        options = {"stochastic_depth_prob": drop_path, **options}
    net = models.get_model(name, weights=None, **options)
    if hasattr(net, "fc"):
        net.fc = nn.Identity()
    elif isinstance(getattr(net, "classifier", None), nn.Sequential):
        net.classifier[-1] = nn.Identity()
    return net


def _shrink(net: nn.Module, in_chans: int) -> None:
    """A ResNet's stem for small pictures."""
    first = getattr(net, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not hasattr(net, "maxpool"):
        raise RecipeError(f"stem = 'small' is for ResNets, not for a {type(net).__name__}")
    net.conv1 = nn.Conv2d(in_chans, first.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()
