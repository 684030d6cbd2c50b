"""SpeechEncoder: the context network of wav2vec 2.0 over the frames of a waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Encoded, LayerParts, PlanError, RecipeError, Segments, StackParts, Transformer, View
from mmask_audio.wav2vec2.positions import PositionalConv

_BEFORE = ("projected", "positions", "embedded")


class SpeechEncoder(nn.Module):
    """Projected features, a mask vector at hidden frames, a positional convolution, a transformer.

    width, depth, heads, hidden: of the transformer; hidden is the feed-forward's width. positions, position_groups:
    kernel and groups of the positional convolution. pre_norm: norms in front of each part and one at the end (LARGE,
    "stable layer norm"), or after each part (BASE). eps: of every LayerNorm. input_dropout: of projected features.
    dropout: of residual branches and of the transformer's input. attention_dropout, activation_dropout: of attention
    weights, and inside the feed-forward. layer_drop: share of layers that a training pass skips. fast: padding is left
    out of every layer, and large products may go through oneDNN; False is the plain twin. tokenizer (wired): offers
    ``dim``, the channels of a frame.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, tokenizer: Any, hidden: int | None = None, positions: int = 128,
        position_groups: int = 16, pre_norm: bool = False, eps: float = 1e-5, input_dropout: float = 0.0,
        dropout: float = 0.0, attention_dropout: float = 0.0, activation_dropout: float = 0.0,
        layer_drop: float = 0.0, fast: bool = True,
    ) -> None:
        super().__init__()
        if width % position_groups:
            raise RecipeError(f"width {width} cannot be cut into {position_groups} position_groups")
        parts = LayerParts(
            width=width, heads=heads, hidden=4 * width if hidden is None else hidden,
            norm="pre" if pre_norm else "post", eps=eps, qkv="separate", dropout=dropout,
            attention_dropout=attention_dropout, inner_dropout=activation_dropout, fast=fast,
        )
        self.width, self.pre_norm, self.fast = width, pre_norm, fast
        self.feature_norm = nn.LayerNorm(tokenizer.dim, eps=eps)
        self.projection = nn.Linear(tokenizer.dim, width)
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        self.mask_token = nn.Parameter(torch.empty(width))
        self.positions = PositionalConv(width, positions, position_groups)
        self.norm = nn.Identity() if pre_norm else parts.make_norm()
        self.stack = Transformer(parts, StackParts(depth=depth, layer_drop=layer_drop))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The reference's: matrices of the transformer N(0, .02), their biases zero; the mask vector U(0, 1); the
        projection U(-1/sqrt(dim), 1/sqrt(dim)). The positional convolution is drawn where it is made."""
        nn.init.uniform_(self.mask_token)
        for part in self.projection.parameters():
            nn.init.uniform_(part, -(self.projection.in_features**-0.5), self.projection.in_features**-0.5)
        for module in self.stack.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @property
    def layer_taps(self) -> tuple[str, ...]:
        """The input of the first layer and the output of each: what a weighted sum runs over."""
        return ("embedded", *(f"block.{i}" for i in range(len(self.stack.layers))))

    def normalise(self, values: Tensor) -> Tensor:
        """Features under the LayerNorm in front of the projection: also what a quantizer reads. (..., dim)."""
        return self.feature_norm(values)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer-wise learning rates, as timm asks for them."""
        stem = r"^feature_norm|^projection|^mask_token|^positions|^norm"
        return {"stem": stem, "blocks": [(r"^stack\.layers\.(\d+)", None), (r"^stack\.norm", (99999,))]}

    def embed(self, view: View, segments: Segments) -> Tensor:
        """Projected features with the mask vector at hidden frames, zero at padding. Packed rows (T, width)."""
        tokens = view.only()
        if tokens.values is None or tokens.flat or tokens.layout.index is not None:
            raise PlanError(
                "this encoder takes padded features of whole clips, not ids, a flat batch or a part of the frames",
                hint="hide frames with corruption 'token'",
            )
        x = self.input_dropout(self.projection(self.normalise(segments.take(tokens.values))))
        if tokens.replaced is not None:
            hidden = segments.take(tokens.replaced.to(x.device))
            x = torch.where(hidden[:, None], self.mask_token.to(x.dtype), x)
        if segments.padded and segments.keys is not None:
            x = x * segments.keys.flatten()[:, None]
        return x

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The states of all frames; those at padding mean nothing.

        taps: ``projected`` for what the positional convolution reads, ``positions`` for what it makes, ``embedded``
        for the input of the first layer, ``block.i`` for the output of layer i, negative counted from the end, all
        (B, N, D); and what `mmask.api.Transformer` has inside its layers. ``pooled``, the mean of the clip's own
        frames, is made in evaluation mode only.
        """
        layers = range(len(self.stack.layers))
        if view.visibility is not None and not all(view.visible(layer).full for layer in layers):
            raise PlanError("this encoder lets every frame see every other; the view restricts that")
        tokens = view.only()
        segments = Segments.of(tokens.layout, tokens.data.device, padded=not self.fast)
        x = self.embed(view, segments)
        found = {"projected": x}
        found["positions"] = segments.take(self.positions(segments.put(x)))
        x = found["embedded"] = self.dropout(self.norm(x + found["positions"]))
        x, inside = self.stack(x, segments, taps=[tap for tap in taps if tap not in _BEFORE])
        found |= inside
        state = segments.put(x)
        pooled = None if self.training else _mean(state, tokens.layout.valid)
        dense = {tap: found[tap] if tap.endswith(".attention") else segments.put(found[tap]) for tap in taps}
        return Encoded(tokens.layout, state, pooled=pooled, taps=dense)


def _mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """(B, D) mean of the valid frames of x (B, N, D)."""
    if valid is None:
        return x.mean(1)
    seen = valid.to(x.device)
    return (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp_min(1)
