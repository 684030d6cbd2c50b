"""A discrete tokenizer of pictures that is trained here: convolutions around a codebook (van den Oord et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import (
    Encoded,
    Losses,
    PlanError,
    Plans,
    Prediction,
    RecipeError,
    Scene,
    Scored,
    Term,
    View,
    patchify,
    unpatchify,
)
from mmask_image.codebook import Codebook
from mmask_image.vq_weights import read_vq


class VqTokenizer(nn.Module):
    """One id for every ``stride`` x ``stride`` pixels of a picture.

    codes: size of the vocabulary. dim: channels of a code. width: channels of the convolutions. depth: residual
    blocks at the last scale. stride: pixels per code and axis, a power of two. in_chans: channels of a picture.
    decay, dead: of the `Codebook`. weights: ``emoji``, the tokenizer of 32 px pictures in this wheel; a
    ``.safetensors`` file; or the folder of a run of a ``vq`` recipe. Empty starts from random weights.

    As a network of a recipe it encodes a view whose patches are ``stride`` a side and hold pixels in [0, 1];
    the states are codes, with gradients passed straight through to the latents. Frozen in another recipe, it
    gives ``ids(picture)``. Values are mapped from [0, 1] to [-1, 1] inside.
    """

    prefix = 0

    def __init__(
        self, *, codes: int = 512, dim: int = 16, width: int = 48, depth: int = 2, stride: int = 4,
        in_chans: int = 3, decay: float = 0.95, dead: float = 0.03, weights: str = "",
    ) -> None:
        super().__init__()
        if stride < 2 or 2 ** int(log2(stride)) != stride:
            raise RecipeError(f"stride {stride} of the tokenizer is not a power of two from 2 on")
        if codes < 2 or min(dim, width) < 1 or depth < 0:
            raise RecipeError(f"a tokenizer of {codes} codes, {dim} and {width} channels, {depth} blocks is none")
        self.vocabulary, self.width, self.stride, self.in_chans = codes, dim, stride, in_chans
        # A code is to say what its own pixels show: no norm over the picture, blocks that do not mix neighbours,
        # edges continued instead of darkened. Else a plain patch has another code in every surrounding.
        layers: list[nn.Module] = [nn.Conv2d(in_chans, width, 3, padding=1, padding_mode="replicate")]
        for _ in range(int(log2(stride))):
            layers += [nn.GELU(), nn.Conv2d(width, width, 2, stride=2)]
        layers += [Residual(width, side=1) for _ in range(depth)]
        layers += [nn.GELU(), nn.Conv2d(width, dim, 1)]
        self.encoder = nn.Sequential(*layers)
        self.codebook = Codebook(codes, dim, decay=decay, dead=dead)
        if weights and not self.codebook.codes.is_meta:  # a model of shapes alone needs no file
            self.load_state_dict(read_vq(weights, self.state_dict()))

    def latents(self, picture: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, h, w, dim), each of unit length."""
        states = self.encoder((picture * 2 - 1).to(self.codebook.codes.dtype)).permute(0, 2, 3, 1)
        return F.normalize(states.to(torch.promote_types(states.dtype, torch.float32)), dim=-1)

    @torch.no_grad()
    def ids(self, picture: Tensor) -> Tensor:
        """(B, C, H, W), uint8 or in [0, 1] -> (B, H / stride, W / stride) int64."""
        latents = self.latents(unit(picture, self.codebook.codes.dtype))
        return self.codebook.nearest(latents.flatten(0, 2)).view(latents.shape[:3])

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """Codes of every place, (B, N, dim). Taps ``latent`` (B, N, dim), ``code`` (B, N, dim), both of unit
        length, and ``id`` (B, N)."""
        tokens = view.only()
        layout, values = tokens.layout, tokens.values
        if layout.grid is None or layout.index is not None or layout.unit != (self.stride, self.stride):
            raise PlanError(
                f"this tokenizer takes whole grids of {self.stride} px patches, not {layout.unit} of {layout.grid}",
                hint="give the patch tokenizer the size of the network's stride, and hide nothing",
            )
        assert values is not None, "patches have values"
        picture = unpatchify(values, layout.grid, layout.unit, self.in_chans)
        latents = self.latents(picture).flatten(1, 2)
        chosen, ids = self.codebook(latents.flatten(0, 1))
        chosen = chosen.view_as(latents)
        passed = latents + (chosen - latents).detach()
        found = {"latent": latents, "code": chosen, "id": ids.view(latents.shape[:2])}
        return Encoded(layout, passed, taps=found)


class VqDecoder(nn.Module):
    """Pixels of every place from the codes of all (a head). network (wired): offers ``width``, ``stride``.

    width: channels of the convolutions. depth: residual blocks at the first scale.
    """

    def __init__(self, *, network: Any, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.stride, self.in_chans = int(network.stride), int(network.in_chans)
        layers: list[nn.Module] = [nn.Conv2d(network.width, width, 3, padding=1)]
        layers += [Residual(width) for _ in range(depth)]
        for _ in range(int(log2(self.stride))):
            layers += [nn.GELU(), nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)]
        layers += [nn.GELU(), nn.Conv2d(width, self.in_chans, 3, padding=1)]
        self.decoder = nn.Sequential(*layers)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, stride·stride·C), pixels in [0, 1] of the scored patches."""
        layout = encoded.layout
        if layout.grid is None or layout.index is not None:
            raise PlanError("pixels are decoded from the codes of a whole grid")
        grid = encoded.places.transpose(1, 2).unflatten(2, layout.grid)
        picture = (self.decoder(grid) + 1) / 2
        return Prediction(scored.take(patchify(picture, (self.stride, self.stride))), scored)


class Commitment(nn.Module):
    """Objective: latents keep near their codes; squared distance, mean over the channels of a place and all places.

    Reports ``codes_used``, the share of the vocabulary in this batch, and ``perplexity`` of its use.
    name, section (wired): the term's name, and the network, view and weight.
    """

    coupling = "global"  # the codebook follows the whole batch

    def __init__(self, *, name: str, section: Any, networks: Mapping[str, Any]) -> None:
        super().__init__()
        self.name, self.section = name, section
        self.vocabulary = int(networks[section.network].vocabulary)
        self.taps = {(section.network, section.view): ("latent", "code", "id")}

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """Every place of the batch."""
        layout = plans.layout(self.section.stream)
        return {self.name: float(layout.batch * layout.length)}

    def forward(self, scene: Scene) -> Losses:
        """One term."""
        taps = scene.encode(
            self.section.network, self.section.view, taps=self.taps[self.section.network, self.section.view]
        ).taps
        each = (taps["latent"] - taps["code"].detach()).square().mean(-1)
        term = Term(each.sum(), float(each.numel()), self.section.weight)
        share = each.new_zeros(self.vocabulary).index_add_(0, taps["id"].flatten(), torch.ones_like(each.flatten()))
        share = share.detach() / each.numel()
        numbers = {
            "codes_used": (share > 0).float().mean(),
            "perplexity": torch.special.entr(share).sum().exp(),
        }
        return Losses({self.name: term}, numbers)


class Residual(nn.Module):
    """x + conv(act(conv(act(x)))), the first convolution ``side`` wide."""

    def __init__(self, width: int, *, side: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, side, padding=side // 2), nn.GELU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x + self.body(x)


def unit(picture: Tensor, dtype: torch.dtype) -> Tensor:
    """A picture in [0, 1], from uint8 or as it is."""
    return picture.to(dtype) / 255 if picture.dtype == torch.uint8 else picture.to(dtype)


def shipped() -> Path:
    """The tokenizer in this wheel."""
    return Path(__file__).parent / "weights" / "vq-emoji.safetensors"
