"""DallETokenizer: the encoder of DALL-E's discrete VAE, with weights from a local file (Ramesh et al. 2021)."""

from __future__ import annotations

from collections import OrderedDict
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import CheckpointError, RecipeError, read_safetensors
from mmask_image.vq import unit

GROUPS = 4
STRIDE = 8


class DallETokenizer(nn.Module):
    """One of ``vocabulary`` ids for every 8 x 8 pixels: the largest logit of a convolutional classifier.

    width: channels of the first group, doubled by each of the three that follow. blocks: residual blocks of a
    group. vocabulary, in_chans: ids, and channels of a picture. weights: the published ``encoder.pkl``, or its
    tensors in a ``.safetensors`` or ``.pt`` file. The file is yours: it is not in this package, and nothing of
    it is run.

    Pixels in [0, 1] are mapped to 0.8 x + 0.1, with no mean and deviation: the published model was trained so.
    Names of modules are those of the published encoder, openai/DALL-E.
    """

    ready: Tensor

    def __init__(
        self, *, width: int = 256, blocks: int = 2, vocabulary: int = 8192, in_chans: int = 3, weights: str = ""
    ) -> None:
        super().__init__()
        if width < 1 or blocks < 1 or vocabulary < 2:
            raise RecipeError(f"no tokenizer has {width} channels, {blocks} blocks and {vocabulary} ids")
        self.vocabulary, self.stride, self.in_chans = vocabulary, STRIDE, in_chans
        layers: list[tuple[str, nn.Module]] = [("input", Convolution(in_chans, width, 7))]
        inside = width
        for group in range(GROUPS):
            outside = width * 2**group
            layers.append((f"group_{group + 1}", _group(inside, outside, blocks, pool=group < GROUPS - 1)))
            inside = outside
        last = [("relu", nn.ReLU()), ("conv", Convolution(inside, vocabulary, 1))]
        layers.append(("output", nn.Sequential(OrderedDict(last))))
        self.blocks = nn.Sequential(OrderedDict(layers))
        # Part of the state, so that a resumed run knows that its checkpoint holds real weights.
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        if weights and not self.ready.is_meta:  # a model of shapes alone needs no file
            self.load(read_dalle(Path(weights)), weights)

    def load(self, found: dict[str, Tensor], source: str) -> None:
        """Copy tensors by their official names. Raises CheckpointError when one is missing or of another shape."""
        own = {name.removeprefix("encoder."): value for name, value in found.items()}
        wanted = {name: value for name, value in self.state_dict().items() if name != "ready"}
        for name, value in wanted.items():
            if name not in own or own[name].shape != value.shape:
                got = f"{tuple(own[name].shape)}" if name in own else "missing"
                raise CheckpointError(
                    f"{source}: '{name}' is {got}, the tokenizer has {tuple(value.shape)}",
                    hint="the published encoder has width 256, blocks 2 and vocabulary 8192",
                )
        self.load_state_dict({name: own[name] for name in wanted}, strict=False)
        self.ready.fill_(True)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, vocabulary, H / 8, W / 8)."""
        return self.blocks(0.8 * picture + 0.1)

    @torch.no_grad()
    def ids(self, picture: Tensor) -> Tensor:
        """(B, C, H, W), uint8 or in [0, 1] -> (B, H / 8, W / 8) int64.

        Raises RecipeError while it has no weights: ids of random weights would be learnt without complaint.
        """
        if not self.ready.is_meta and not self.ready:
            raise RecipeError(
                "the discrete tokenizer has no weights",
                hint="give networks.tokenizer.weights=PATH of DALL-E's encoder.pkl, or train one with a vq recipe and"
                " set networks.tokenizer.use=vq networks.tokenizer.weights=RUN",
            )
        first: Any = self.blocks.input
        return self(unit(picture, first.w.dtype)).argmax(1)


class Convolution(nn.Module):
    """A convolution with the published names ``w`` and ``b``, padded to keep the size."""

    def __init__(self, inside: int, outside: int, side: int) -> None:
        super().__init__()
        self.pad = (side - 1) // 2
        self.w = nn.Parameter(torch.empty(outside, inside, side, side))
        self.b = nn.Parameter(torch.zeros(outside))
        nn.init.normal_(self.w, std=1 / sqrt(inside * side * side))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, outside, H, W)."""
        return F.conv2d(x, self.w, self.b, padding=self.pad)


class Bottleneck(nn.Module):
    """x + f(x) / layers², f three 3 x 3 and one 1 x 1 convolution after rectifiers at a quarter of the width."""

    def __init__(self, inside: int, outside: int, layers: int) -> None:
        super().__init__()
        inner = max(1, outside // 4)
        self.gain = 1 / layers**2
        self.id_path = nn.Identity() if inside == outside else Convolution(inside, outside, 1)
        steps: list[tuple[str, nn.Module]] = []
        shapes = [(inside, inner, 3), (inner, inner, 3), (inner, inner, 3), (inner, outside, 1)]
        for number, shape in enumerate(shapes, start=1):
            steps += [(f"relu_{number}", nn.ReLU()), (f"conv_{number}", Convolution(*shape))]
        self.res_path = nn.Sequential(OrderedDict(steps))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, outside, H, W)."""
        return self.id_path(x) + self.gain * self.res_path(x)


def _group(inside: int, outside: int, blocks: int, *, pool: bool) -> nn.Sequential:
    layers: list[tuple[str, nn.Module]] = [
        (f"block_{i + 1}", Bottleneck(inside if i == 0 else outside, outside, GROUPS * blocks))
        for i in range(blocks)
    ]
    if pool:
        layers.append(("pool", nn.MaxPool2d(2)))
    return nn.Sequential(OrderedDict(layers))


class Shell:
    """What a module of a pickled file becomes: its attributes and nothing that could run."""

    def tensors(self, start: str = "") -> dict[str, Tensor]:
        """Dotted name -> tensor of this module and those inside it."""
        found = {start + name: value for name, value in vars(self).get("_parameters", {}).items() if value is not None}
        for name, inner in vars(self).get("_modules", {}).items():
            if isinstance(inner, Shell):
                found |= inner.tensors(f"{start}{name}.")
        return found


# The classes a pickled encoder names. Each one becomes a Shell; any other class stops the reading.
_ALLOWED = (
    "dall_e.encoder.Encoder", "dall_e.encoder.EncoderBlock", "dall_e.utils.Conv2d",
    "torch.nn.modules.container.Sequential", "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.pooling.MaxPool2d", "torch.nn.modules.linear.Identity",
)


def read_dalle(path: Path) -> dict[str, Tensor]:
    """Official name -> tensor, from ``.safetensors``, a saved state dict, or the published pickle.

    A pickle is read by torch's restricted loader, in which the published module classes become empty shells;
    their code is not imported. Raises CheckpointError for anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"no tokenizer file at {path}")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    shells: list[Any] = [(Shell, name) for name in _ALLOWED]
    try:
        with torch.serialization.safe_globals(shells):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as tensors alone: {str(error).splitlines()[0]}",
            hint="accepted are the published encoder.pkl, a saved state dict, or a .safetensors file",
        ) from error
    if isinstance(found, Shell):
        found = found.tensors()
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} holds no tokenizer")
    return {name: value.detach() for name, value in found.items()}
