"""FrameEncoder: frames of features through a linear layer, fixed positions and a transformer (Mockingjay, TERA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import (
    Encoded,
    LayerParts,
    PlanError,
    Prediction,
    Scored,
    Segments,
    StackParts,
    Transformer,
    View,
    linear,
    sinusoid,
)


class FrameEncoder(nn.Module):
    """Linear(bins, width) plus sinusoids of the frame's number, norm, dropout, then BERT's layers. Padding is never
    computed.

    width, depth, heads, hidden: of the layers. norm: ``post`` as in BERT, or ``pre``. eps: of every norm. dropout,
    attention_dropout, std: see `mmask.api.LayerParts`. fast: False is the plain twin, computed over padding.
    tokenizer (wired): offers ``bins``.
    """

    prefix = 0

    def __init__(
        self, *, tokenizer: Any, width: int = 768, depth: int = 3, heads: int = 12, hidden: int | None = None,
        act: str = "gelu", norm: Literal["post", "pre"] = "post", eps: float = 1e-12, dropout: float = 0.1,
        attention_dropout: float = 0.1, std: float = 0.02, fast: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.bins, self.fast = width, int(tokenizer.bins), fast
        self.parts = LayerParts(
            width=width, heads=heads, hidden=4 * width if hidden is None else hidden, act=act, norm=norm, eps=eps,
            dropout=dropout, attention_dropout=attention_dropout, std=std, fast=fast,
        )
        self.embed = nn.Linear(self.bins, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.body = Transformer(self.parts, StackParts(depth=depth))
        nn.init.normal_(self.embed.weight, std=std)
        nn.init.zeros_(self.embed.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The layers, for layer-wise learning rates (timm's convention)."""
        return {"stem": r"^(?:embed|norm)\.", "blocks": [(r"^body\.layers\.(\d+)", None), (r"^body\.norm", (99999,))]}

    @property
    def layer_taps(self) -> tuple[str, ...]:
        """What the layers see and the output of each: what a weighted sum of layers runs over."""
        return ("embed", *(f"block.{i}" for i in range(len(self.body.layers))))

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """States (B, T, width), zero at padding; ``pooled``, in evaluation mode, is their mean over real frames.

        taps: ``embed``, what the layers see, and those of `mmask.api.Transformer`.
        """
        tokens = view.only()
        if tokens.values is None or tokens.flat:
            raise PlanError("this encoder takes padded frames of features")
        layout = tokens.layout
        segments = Segments.of(layout, tokens.values.device, padded=not self.fast)
        x = linear(self.embed, segments.take(tokens.values.to(self.embed.weight.dtype)), fast=self.fast)
        table = sinusoid(self.width, layout.positions).to(x.device, x.dtype)
        x = self.norm(x + table[segments.positions])
        found = {"embed": x} if "embed" in taps else {}
        x = F.dropout(x, self.parts.dropout, self.training) if self.parts.dropout else x
        x, more = self.body(x, segments, taps=[tap for tap in taps if tap != "embed"])
        kept = {tap: value if value.ndim == 4 else segments.put(value) for tap, value in {**found, **more}.items()}
        state = segments.put(x)
        return Encoded(layout, state, 0, None if self.training else _mean(state, layout.valid), kept)


class SpectrumHead(nn.Module):
    """Dense, GELU, norm, linear to the bins: the values of every frame that is not padding (B·T, bins).

    network (wired): offers ``width``. target (wired): offers ``dim``. eps: of the norm. std: of the matrices.
    """

    def __init__(self, *, network: Any, target: Any, eps: float = 1e-12, std: float = 0.02) -> None:
        super().__init__()
        width = int(network.width)
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=eps)
        self.output = nn.Linear(width, int(target.dim))
        for layer in (self.dense, self.output):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def state(self, states: Tensor) -> Tensor:
        """(..., width) -> (..., width): what the last linear sees."""
        return self.norm(F.gelu(self.dense(states)))

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """One value for each scored place; of cells, every value of every place."""
        return Prediction(self.output(self.state(encoded.at(scored))), scored)


def _mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """(B, D): the mean over valid places."""
    if valid is None:
        return x.mean(1)
    share = valid.to(x.device, x.dtype) / valid.sum(1, keepdim=True).clamp_min(1).to(x.device)
    return (x * share[:, :, None]).sum(1)
