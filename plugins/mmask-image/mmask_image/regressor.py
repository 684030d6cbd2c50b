"""LatentRegressor: from the latents of visible patches to those of the hidden ones (CAE's regressor)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import sqrt
from typing import Any

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Encoded, PlanError, RecipeError, View, did_you_mean
from mmask_image.beit_block import Start, row_sincos, truncated


class LatentRegressor(nn.Module):
    """Cross-attention from one shared mask token at every hidden place (Chen et al. 2022, section 3.1).

    of: the network whose latents of the visible places are the context; it is run here, on the same view.
    width: channels; another than the encoder's puts a linear layer and a norm between. depth, heads, mlp_ratio,
    eps, qkv_bias: of the blocks. layer_scale: initial factor of both branches; 0 leaves it out. drop_path: rate
    of the last block, rising linearly. start: as `BeitEncoder` has it.
    networks (wired): where ``of`` is found. tokenizer (wired): offers ``grid``.

    Encodes the *hidden* places of the view's plan, in ascending order: a slot between an encoder and its heads.
    [CLS] takes no part, and nothing of a hidden place's content reaches this module.
    """

    positions: Tensor
    prefix = 0

    def __init__(
        self, *, networks: Mapping[str, Any], tokenizer: Any, of: str = "encoder", width: int = 768,
        depth: int = 4, heads: int = 12, mlp_ratio: float = 4.0, eps: float = 1e-6, qkv_bias: bool = True,
        layer_scale: float = 0.1, drop_path: float = 0.0, start: Start = "xavier",
    ) -> None:
        super().__init__()
        if of not in networks:
            raise RecipeError(
                f"the regressor reads network '{of}'{did_you_mean(of, networks)}; those before it are"
                f" {sorted(networks)}", hint="put the encoder first among the recipe's networks",
            )
        if width % heads:
            raise RecipeError(f"a regressor of width {width} cannot have {heads} heads")
        # In a tuple, so that the encoder stays one network of the model and is not registered twice.
        self._source: tuple[Any] = (networks[of],)
        self.width, self.grid, self.start = width, tuple(tokenizer.grid), start
        norm = partial(nn.LayerNorm, eps=eps)
        inner = int(self._source[0].width)
        self.project = nn.Linear(inner, width) if inner != width else None
        self.project_norm = norm(width) if inner != width else None
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", row_sincos(width, self.grid)[None])
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            CrossBlock(width, heads, mlp_ratio, norm, qkv_bias, layer_scale, rate) for rate in rates
        )
        self.norm = norm(width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """As the reference: Xavier-uniform matrices, or N(0, .02) with the branches' outputs rescaled."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                (nn.init.xavier_uniform_ if self.start == "xavier" else truncated)(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if self.start == "rescaled":
            block: Any
            for number, block in enumerate(self.blocks, start=1):
                block.proj.weight.div_(sqrt(2 * number))
                block.mlp.fc2.weight.div_(sqrt(2 * number))
        truncated(self.mask_token)

    def units(self) -> list[nn.Module]:
        """Its blocks."""
        return list(self.blocks)

    def adapt(self, states: Tensor) -> Tensor:
        """Latents of the encoder on to this module's width, context and targets alike. (..., D) -> (..., width)."""
        if self.project is None or self.project_norm is None:
            return states
        return self.project_norm(self.project(states))

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """States of the hidden places, (B, H, width), and their layout.

        taps: ``block.i`` for the mask tokens after block i. Raises PlanError for a view without a plan.
        """
        names = {f"block.{i}": i for i in range(len(self.blocks))}
        unknown = [tap for tap in taps if tap not in names]
        if unknown:
            raise PlanError(f"no tap '{unknown[0]}'{did_you_mean(unknown[0], names)}; there are {sorted(names)}")
        encoded, plan = self._source[0](view), view.plan()
        index, counts = plan.hidden_index
        present = None if counts is None else torch.arange(index.shape[1])[None] < counts[:, None]
        layout = plan.layout.take(index, present)
        if layout.positions != self.positions.shape[1]:
            raise PlanError(f"a regressor for grid {self.grid} was given {layout.positions} positions")
        context = self.adapt(encoded.places)
        x = self.mask_token.to(context.dtype).expand(*index.shape, -1)
        asked, keys = self._at(index, x), self._at(encoded.layout.index, context)
        keys, allowed = torch.cat([keys.expand(len(x), -1, -1), asked], 1), _allowed(encoded, layout, x.device)
        found: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks):
            x = block(x, torch.cat([context, x], 1), asked, keys, allowed)
            found |= {name: x for name in taps if names[name] == number}
        return Encoded(layout, self.norm(x), taps=found)

    def _at(self, index: Tensor | None, like: Tensor) -> Tensor:
        """Positions of places, (B or 1, K, width)."""
        table = self.positions.to(like.dtype)
        return table if index is None else table[0][index.to(table.device)]


class CrossBlock(nn.Module):
    """x = x + attend(q(x + p), k(c + p), v(c)), each normed by its own norm; then x = norm(x); x = x + mlp(x).

    The stream itself is normed before the second branch, so the residual carries the normed value: the
    reference's form, not the usual pre-norm one.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, norm: Any, qkv_bias: bool, layer_scale: float, drop: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_k, self.norm_v, self.norm = (norm(width) for _ in range(4))
        self.q, self.v = nn.Linear(width, width, qkv_bias), nn.Linear(width, width, qkv_bias)
        self.k = nn.Linear(width, width, bias=False)  # a bias of keys cancels in the softmax
        self.proj = nn.Linear(width, width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop) if drop > 0 else nn.Identity()
        scaled = layer_scale > 0
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale)) if scaled else None
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale)) if scaled else None

    def forward(self, x: Tensor, context: Tensor, asked: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
        """x: (B, H, D) queries at positions ``asked``. context: (B, K, D) at positions ``keys``. -> (B, H, D).

        allowed: (B, 1, 1, K) bool, True at context that may be looked at; None for all of it.
        """
        q = self._heads(self.q(self.norm_q(x + asked)))
        k = self._heads(self.k(self.norm_k(context + keys)))
        v = self._heads(self.v(self.norm_v(context)))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2)
        x = self.norm(x + self.drop_path(_scale(self.gamma_1, self.proj(out))))
        return x + self.drop_path(_scale(self.gamma_2, self.mlp(x)))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _scale(gamma: Tensor | None, x: Tensor) -> Tensor:
    return x if gamma is None else gamma * x


def _allowed(encoded: Encoded, hidden: Any, device: torch.device) -> Tensor | None:
    """(B, 1, 1, K + H) bool, False at the padding of ragged plans; None when there is none."""
    seen, asked = encoded.layout.valid, hidden.valid
    if seen is None and asked is None:
        return None
    parts = [
        torch.ones(part.batch, part.length, dtype=torch.bool) if part.valid is None else part.valid.cpu()
        for part in (encoded.layout, hidden)
    ]
    return torch.cat(parts, 1)[:, None, None].to(device, non_blocking=True)
