"""SpeechEncoder: the context network of wav2vec 2.0 over the frames of a waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Encoded, PlanError, RecipeError, View, did_you_mean
from mmask_audio.wav2vec2.layers import Frames, PositionalConv, SpeechLayer


class SpeechEncoder(nn.Module):
    """Projected features, a mask vector at hidden frames, a positional convolution, a transformer.

    width, depth, heads, hidden: of the transformer; hidden is the feed-forward's width. positions, position_groups:
    kernel and groups of the positional convolution. pre_norm: norms in front of each part and one at the end (LARGE,
    "stable layer norm"), or after each part (BASE). eps: of every LayerNorm. input_dropout: of projected features.
    dropout: of residual branches and of the transformer's input. attention_dropout, activation_dropout: of attention
    weights, and inside the feed-forward. layer_drop: share of layers that a training pass skips (Fan et al. 2020).
    fast: padding is left out of every linear layer and norm, and large products may go through oneDNN; False is the
    plain twin. tokenizer (wired): offers ``dim``, the channels of a frame.

    Names are those of transformers' Wav2Vec2Model without its convolutions, which are the tokenizer's.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, tokenizer: Any, hidden: int | None = None, positions: int = 128,
        position_groups: int = 16, pre_norm: bool = False, eps: float = 1e-5, input_dropout: float = 0.0,
        dropout: float = 0.0, attention_dropout: float = 0.0, activation_dropout: float = 0.0,
        layer_drop: float = 0.0, fast: bool = True,
    ) -> None:
        super().__init__()
        if width % heads or width % position_groups:
            raise RecipeError(f"width {width} must be divisible by {heads} heads and {position_groups} position_groups")
        if not 0.0 <= layer_drop < 1.0:
            raise RecipeError(f"layer_drop is {layer_drop}; it is a share from 0 to below 1")
        self.width, self.heads, self.hidden = width, heads, 4 * width if hidden is None else hidden
        self.pre_norm, self.eps, self.layer_drop, self.fast = pre_norm, eps, layer_drop, fast
        self.feature_projection = FeatureProjection(tokenizer.dim, width, eps, input_dropout)
        self.masked_spec_embed = nn.Parameter(torch.empty(width))
        self.encoder = Stack(PositionalConv(width, positions, position_groups), width, eps, dropout, [
            SpeechLayer(
                width, heads, self.hidden, pre_norm=pre_norm, eps=eps, dropout=dropout,
                attention_dropout=attention_dropout, inside=activation_dropout,
            )
            for _ in range(depth)
        ])
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The reference's: matrices of the transformer N(0, .02), their biases zero; the mask vector U(0, 1).
        The projection and the positional convolution are drawn where they are made."""
        nn.init.uniform_(self.masked_spec_embed)
        for module in self.encoder.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def normalise(self, values: Tensor) -> Tensor:
        """Features under the LayerNorm in front of the projection: also what a quantizer reads. (..., dim)."""
        return self.feature_projection.layer_norm(values)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer-wise learning rates, as timm asks for them."""
        stem = r"^feature_projection|^masked_spec_embed|^encoder\.pos_conv_embed"
        norm = r"^encoder\.layer_norm"  # after the last layer, or in front of the first
        ends = [(norm, (99999,))] if self.pre_norm else []
        stem = stem if self.pre_norm else f"{stem}|{norm}"
        return {"stem": stem, "blocks": [(r"^encoder\.layers\.(\d+)", None), *ends]}

    def embed(self, view: View, frames: Frames) -> Tensor:
        """Projected features with the mask vector at hidden frames, zero at padding -> rows."""
        tokens = view.only()
        if tokens.values is None or tokens.flat or tokens.layout.index is not None:
            raise PlanError(
                "this encoder takes padded features of whole clips, not ids, a flat batch or a part of the frames",
                hint="hide frames with corruption 'token'",
            )
        x = self.feature_projection(frames.gather(tokens.values))
        if tokens.replaced is not None:
            hidden = frames.gather(tokens.replaced.to(x.device)[..., None])
            x = torch.where(hidden, self.masked_spec_embed.to(x.dtype), x)
        if frames.rows is None and tokens.layout.valid is not None:
            x = x * tokens.layout.valid.to(x.device)[..., None]
        return x

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The states of all frames; those at padding mean nothing.

        taps: ``projected`` for what the positional convolution reads, ``positions`` for what it makes, ``embedded``
        for the input of the first layer, ``block.i`` for the output of layer i, negative counted from the end; all
        (B, N, D). ``pooled``, the mean of the clip's own frames, is made in evaluation mode only.
        """
        layers = range(len(self.encoder.layers))
        if view.visibility is not None and not all(view.visible(layer).full for layer in layers):
            raise PlanError("this encoder lets every frame see every other; the view restricts that")
        tokens, wanted = view.only(), _taps(taps, len(self.encoder.layers))
        layout, data = tokens.layout, tokens.data
        frames = Frames.of(layout, data.device, packed=self.fast)
        found: dict[str, Tensor] = {}

        def note(key: str | int, x: Tensor) -> None:
            found.update({name: frames.spread(x) for name in wanted.get(key, ())})

        x = self.embed(view, frames)
        note("projected", x)
        places = frames.gather(self.encoder.pos_conv_embed(frames.spread(x)))
        note("positions", places)
        x = x + places
        x = self.encoder.dropout(x if self.pre_norm else self.encoder.layer_norm(x))
        note("embedded", x)
        for number, layer in enumerate(self.encoder.layers):
            x = self._touched(x, layer) if self._skips() else layer(x, frames, fast=self.fast)
            note(number, x)
        x = frames.spread(self.encoder.layer_norm(x) if self.pre_norm else x)
        pooled = None if self.training else _mean(x, layout.valid)
        return Encoded(layout, x, pooled=pooled, taps=found)

    def _skips(self) -> bool:
        return self.training and self.layer_drop > 0 and float(torch.rand(())) < self.layer_drop

    @staticmethod
    def _touched(x: Tensor, layer: nn.Module) -> Tensor:
        """x, with zero gradients for the skipped layer: ranks skip different layers and must agree on who has one."""
        return x + sum(weight.reshape(-1)[0] for weight in layer.parameters()) * 0.0


class FeatureProjection(nn.Module):
    """LayerNorm, a linear layer to the transformer's width, dropout."""

    def __init__(self, dim: int, width: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim, eps=eps)
        self.projection = nn.Linear(dim, width)  # torch draws U(-1/sqrt(dim), 1/sqrt(dim)), as the reference
        for part in self.projection.parameters():
            nn.init.uniform_(part, -(dim**-0.5), dim**-0.5)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., width)."""
        x = self.layer_norm(x)
        return self.dropout(self.projection(x))


class Stack(nn.Module):
    """The transformer's parts under the names they have in transformers; `SpeechEncoder` runs them."""

    def __init__(
        self, positions: PositionalConv, width: int, eps: float, dropout: float, layers: list[SpeechLayer]
    ) -> None:
        super().__init__()
        self.pos_conv_embed = positions
        self.layer_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layers)


def _taps(taps: Sequence[str], depth: int) -> dict[str | int, list[str]]:
    """State -> the taps that ask for it. Raises PlanError."""
    known: dict[str, str | int] = {name: name for name in ("projected", "positions", "embedded")}
    known |= {f"block.{i}": i % depth for i in range(-depth, depth)}
    out: dict[str | int, list[str]] = {}
    for tap in taps:
        if tap not in known:
            raise PlanError(
                f"no tap '{tap}'{did_you_mean(tap, known)}",
                hint=f"taps are projected, positions, embedded, and block.0 to block.{depth - 1}",
            )
        out.setdefault(known[tap], []).append(tap)
    return out


def _mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """(B, D) mean of the valid frames of x (B, N, D)."""
    if valid is None:
        return x.mean(1)
    seen = valid.to(x.device)
    return (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp_min(1)
