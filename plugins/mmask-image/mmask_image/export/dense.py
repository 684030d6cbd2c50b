"""Dense: the plain network behind an encoder, as a library can build it. What every exporter here starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from mmask.api import Encoded, ExportError


@dataclass(frozen=True)
class Dense:
    """What an encoder's ``dense()`` returns.

    library: who can build it: ``timm``, or ``torchvision``. name: the model's name there. args: arguments of
    its constructor that make it this one; plain values only. weights: name in that library -> tensor.
    module: such a network, in evaluation mode. features: (B, C, H, W) normalised pictures -> what
    ``forward_features`` gives. change: code lines that change ``model`` after it was made, for what no argument
    says. vit: the sizes when it is a plain ViT, which other libraries can hold as well. answer: what of an encoding
    ``features`` equals; without it the coarsest map, or the states where there is none. fixed: the picture's size is
    part of the network.
    """

    library: Literal["timm", "torchvision"]
    name: str
    args: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    module: nn.Module
    features: Callable[[Tensor], Tensor]
    vit: VitSizes | None = None
    change: str = ""
    answer: Callable[[Encoded], Tensor] | None = None
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class VitSizes:
    """A ViT with one [CLS] token, learned or fixed additive positions, pre-norm blocks and a final norm."""

    image: tuple[int, int]
    patch: tuple[int, int]
    channels: int
    width: int
    depth: int
    heads: int
    hidden: int
    qkv_bias: bool
    eps: float


# timm's names of the plain ViTs; sizes that have none go by the nearest name and arguments.
_NAMES = {
    (192, 12, 3, 16): "vit_tiny_patch16_224", (384, 12, 6, 16): "vit_small_patch16_224",
    (768, 12, 12, 16): "vit_base_patch16_224", (1024, 24, 16, 16): "vit_large_patch16_224",
    (1280, 32, 16, 14): "vit_huge_patch14_224",
}


def vit_dense(module: Any, sizes: VitSizes, *, pool: str) -> Dense:
    """A ViT in timm's names. pool: ``mean`` (of the normed patches) or ``cls``."""
    name = _NAMES.get((sizes.width, sizes.depth, sizes.heads, sizes.patch[0]), "vit_base_patch16_224")
    args = {
        "img_size": list(sizes.image), "patch_size": list(sizes.patch), "in_chans": sizes.channels,
        "embed_dim": sizes.width, "depth": sizes.depth, "num_heads": sizes.heads,
        "mlp_ratio": sizes.hidden / sizes.width, "qkv_bias": sizes.qkv_bias,
        "global_pool": "avg" if pool == "mean" else "token", "fc_norm": False,
    }
    return Dense("timm", name, args, module.state_dict(), module, module.forward_features, sizes, fixed=True)


def dense_of(model: Any) -> Dense:
    """The plain network behind a model's encoder. Raises ExportError when the encoder does not say."""
    encoder = model.encoder
    if not callable(getattr(encoder, "dense", None)):
        raise ExportError(
            f"the encoder is a {type(encoder).__name__}, which does not say what it is in other libraries",
            hint="give it a method dense() -> mmask_image.export.dense.Dense, or use --format safetensors",
        )
    found: Dense = encoder.dense()
    return found


def vit_of(model: Any, form: str) -> tuple[Dense, VitSizes]:
    """The same for formats that hold ViTs only."""
    dense = dense_of(model)
    if dense.vit is None:
        raise ExportError(f"'{form}' holds ViTs; the encoder is {dense.library}'s {dense.name}",
                          hint=f"use --format {dense.library}, onnx or safetensors")
    return dense, dense.vit


def one_number(pair: tuple[int, int], what: str, form: str) -> int:
    """A side. Raises ExportError for what is no square where the library knows squares only."""
    if pair[0] != pair[1]:
        raise ExportError(f"'{form}' knows square {what} only, these are {pair[0]}x{pair[1]}",
                          hint="use --format timm, onnx or safetensors")
    return pair[0]
