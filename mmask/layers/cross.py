"""Cross-attention between two packed batches, and the layer in which two streams of the same samples meet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.errors import RecipeError
from mmask.layers.attention import Rule
from mmask.layers.linear import linear
from mmask.layers.segments import Segments
from mmask.layers.transformer import Attention, Layer, LayerParts


def attend_across(
    q: Tensor, kv: Tensor, asking: Segments, answering: Segments, *, dropout: float = 0.0
) -> Tensor:
    """softmax(q k / sqrt(size)) v, each sample's places over the other stream's places of the same sample.

    q: (T, H, size), packed as ``asking``. kv: (S, 2, H, size), packed as ``answering``. -> (T, H * size). A sample
    whose other stream is empty gets zeros.
    """
    if asking.padded or answering.padded:
        shares = across_shares(q, kv, asking, answering)
        shares = F.dropout(shares, dropout) if dropout else shares
        mixed = shares @ answering.put(kv[:, 1]).transpose(1, 2)
        return asking.take(mixed.transpose(1, 2).flatten(2))
    queries, (k, v) = asking.put(q).transpose(1, 2), answering.put(kv).permute(2, 0, 3, 1, 4).unbind(0)
    keys = _keys(answering)
    mixed = F.scaled_dot_product_attention(queries, k, v, attn_mask=keys, dropout_p=dropout)
    return asking.take(mixed.transpose(1, 2).flatten(2))


def across_shares(q: Tensor, kv: Tensor, asking: Segments, answering: Segments) -> Tensor:
    """The plain twin's shares, written out. Shapes as `attend_across` has them. -> (B, H, N, M)."""
    queries, keys = asking.put(q).transpose(1, 2), answering.put(kv[:, 0]).transpose(1, 2)
    scores = queries @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
    allowed = _keys(answering)
    return (scores if allowed is None else scores.masked_fill(~allowed, float("-inf"))).softmax(-1)


def _keys(segments: Segments) -> Tensor | None:
    """(B, 1, 1, M) bool, False at padding. Samples that are nothing but padding see it: there, values are zero."""
    if segments.keys is None:
        return None
    if "across" not in segments.cache:
        keys = segments.keys
        segments.cache["across"] = (keys | ~keys.any(1, keepdim=True))[:, None, None]
    return segments.cache["across"]


class CrossLayer(nn.Module):
    """Two streams look at each other, then each at itself, then each goes through its own feed-forward part (LXMERT;
    Tan and Bansal 2019).

    Both directions read the streams as they came in, and have one set of weights between them: ``across`` with its
    norm ``norm``. ``first`` and ``second`` are ordinary layers. Norms come after each residual sum.
    """

    def __init__(self, parts: LayerParts) -> None:
        super().__init__()
        if parts.norm != "post":
            raise RecipeError("a cross layer normalises after each residual sum", hint="set norm=post")
        self.parts = parts
        self.across, self.norm = Attention(parts), parts.make_norm()
        self.first, self.second = Layer(parts), Layer(parts)

    def exchange(
        self, x: Tensor, y: Tensor, at_x: Segments, at_y: Segments, found: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The first sub-layer: x (T, width) after looking at y (S, width), and y after looking at x."""
        mine, theirs = self.across.project(x), self.across.project(y)
        found = {} if found is None else found
        if "first" in found:
            found["first"] = across_shares(mine[:, 0], theirs[:, 1:], at_x, at_y)
        if "second" in found:
            found["second"] = across_shares(theirs[:, 0], mine[:, 1:], at_y, at_x)
        dropout = self.parts.attention_dropout if self.training else 0.0
        to_x = attend_across(mine[:, 0], theirs[:, 1:], at_x, at_y, dropout=dropout)
        to_y = attend_across(theirs[:, 0], mine[:, 1:], at_y, at_x, dropout=dropout)
        return self._joined(x, to_x), self._joined(y, to_y)

    def _joined(self, x: Tensor, mixed: Tensor) -> Tensor:
        made = linear(self.across.out, mixed, fast=self.parts.fast)
        return self.norm(x + F.dropout(made, self.parts.dropout, self.training and self.parts.dropout > 0))

    def forward(
        self, x: Tensor, y: Tensor, at_x: Segments, at_y: Segments, shares: Sequence[str] = ()
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(T, width), (S, width) -> the same shapes, and the shares of attention that were asked for: ``first``
        (B, H, N, M), how x looks at y, and ``second`` (B, H, M, N)."""
        found = dict.fromkeys(shares, x)
        x, y = self.exchange(x, y, at_x, at_y, found)
        return self.first(x, at_x, Rule())[0], self.second(y, at_y, Rule())[0], found


class CrossStack(nn.Module):
    """``depth`` cross layers: ``layers.i.{across,norm,first,second}``."""

    def __init__(self, parts: LayerParts, depth: int) -> None:
        super().__init__()
        self.parts = parts
        self.layers = nn.ModuleList(CrossLayer(parts) for _ in range(depth))
        self.reset_parameters()

    def units(self) -> list[nn.Module]:
        """Its layers."""
        return list(self.layers)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, std) cut off at two deviations for matrices, zero for biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.parts.std, a=-2 * self.parts.std, b=2 * self.parts.std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
