"""Layers of the transformer of wav2vec 2.0, run on valid frames only or on padded rows. Names as in transformers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from mmask.api import Layout, linear, product


@dataclass(frozen=True)
class Frames:
    """Where rows of states lie. Packed, states are (T, D), the valid frames of sample after sample; else (B, N, D).

    rows: (T,) places in the flattened (B·N), None when not packed. keys: (B, 1, 1, N) bool, frames that may be looked
    at; None when all may.
    """

    batch: int
    length: int
    rows: Tensor | None = None
    keys: Tensor | None = None

    @staticmethod
    def of(layout: Layout, device: torch.device, *, packed: bool) -> Frames:
        """packed: leave padding out of every layer but the convolution and the attention itself."""
        if layout.valid is None:
            return Frames(layout.batch, layout.length)
        # a clip without a frame looks at its padding: a softmax over nothing would be NaN, also in the gradient
        seen = layout.valid.cpu() | ~layout.valid.cpu().any(1, keepdim=True)
        rows = layout.flat_index().to(device) if packed else None
        return Frames(layout.batch, layout.length, rows, seen[:, None, None].to(device))

    def gather(self, x: Tensor) -> Tensor:
        """(B, N, D) -> rows."""
        return x if self.rows is None else x.flatten(0, 1).index_select(0, self.rows)

    def spread(self, x: Tensor) -> Tensor:
        """Rows -> (B, N, D), zero at padding."""
        if self.rows is None:
            return x
        out = x.new_zeros(self.batch * self.length, x.shape[-1])
        return out.index_copy(0, self.rows, x).view(self.batch, self.length, -1)


class PositionalConv(nn.Module):
    """Relative positions: a grouped convolution over time with weight norm, then GELU.

    kernel: odd or even; as many zeros on either side as half of it, and the last frame of an even one is cut.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=2 * (kernel * width) ** -0.5)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        self.conv = weight_norm(conv, name="weight", dim=2)
        self.length = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.conv(x.transpose(1, 2))
        return F.gelu(out[:, :, : x.shape[1]]).transpose(1, 2)


class Attention(nn.Module):
    """Every frame looks at every valid frame. dropout: of the attention weights."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, frames: Frames, *, fast: bool) -> Tensor:
        """x: rows -> rows."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        made = frames.spread(product(x, weight, bias, fast=fast))
        q, k, v = made.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        drop = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=frames.keys, dropout_p=drop)
        return linear(self.out_proj, frames.gather(out.transpose(1, 2).flatten(2)), fast=fast)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them. inside: dropout after GELU; dropout: at the end."""

    def __init__(self, width: int, hidden: int, *, inside: float, dropout: float) -> None:
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.inside, self.dropout = nn.Dropout(inside), nn.Dropout(dropout)

    def forward(self, x: Tensor, *, fast: bool) -> Tensor:
        """x: rows -> rows."""
        x = self.inside(F.gelu(linear(self.intermediate_dense, x, fast=fast)))
        return self.dropout(linear(self.output_dense, x, fast=fast))


class SpeechLayer(nn.Module):
    """One transformer layer. pre_norm: norms in front of attention and feed-forward (LARGE), or after them (BASE)."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, pre_norm: bool, eps: float, dropout: float,
        attention_dropout: float, inside: float,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(width, heads, attention_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.feed_forward = FeedForward(width, hidden, inside=inside, dropout=dropout)

    def forward(self, x: Tensor, frames: Frames, *, fast: bool) -> Tensor:
        """x: rows -> rows."""
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.layer_norm(x), frames, fast=fast))
            return x + self.feed_forward(self.final_layer_norm(x), fast=fast)
        x = self.layer_norm(x + self.dropout(self.attention(x, frames, fast=fast)))
        return self.final_layer_norm(x + self.feed_forward(x, fast=fast))
