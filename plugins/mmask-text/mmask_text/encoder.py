"""TextEncoder: one transformer over ids whose parts are choices: BERT, RoBERTa, ELECTRA, MosaicBERT, ModernBERT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import (
    Embeddings,
    Encoded,
    LayerParts,
    PlanError,
    Rule,
    Segments,
    StackParts,
    Tokens,
    Transformer,
    View,
    linear,
)
from mmask_text.few import Few


class TextEncoder(nn.Module):
    """Embeddings and a transformer, over packed text: padding is never computed.

    width, depth, heads, hidden: of the layers; hidden is the width inside the feed-forward part. embed_width: of the
    tables when it is not ``width``, with a projection after (ELECTRA). places: rows of the table of learned positions,
    for ``positions = learned``; place_offset: the row of the first place (RoBERTa: 2). positions: ``learned``,
    ``alibi``, ``rotary`` or ``none``. types: rows of the table of segments, 0 for none. embed_norm: a norm after the
    sum of embeddings. pattern, window, theta, local_theta: global and local layers, see `StackParts`. act, gated, norm,
    eps, norm_bias, qkv, attention_bias, in_bias, out_bias, dropout, attention_dropout, inner_dropout, std: see
    `LayerParts`. embed_dropout: of the embeddings; None is ``dropout``. first_norm, final_norm: see `StackParts`.
    scaled_init: shrink matrices that end on the residual stream by (2 depth)^(-1/2). pooler: a layer
    tanh(dense([CLS])) makes ``pooled``. pool: otherwise what ``pooled`` is in evaluation mode, the first state or the
    mean. share: a network that stands before this one, whose embeddings (tables and norm) are this one's too. sparse:
    while it trains, compute the last layer at the hidden places of the view and the first place alone, and return
    these (MosaicBERT). fast: False is the plain twin, computed over padding with attention written out. tokenizer
    (wired): offers ``size`` and ``pad_id``.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, hidden: int | None = None, embed_width: int | None = None,
        positions: Literal["learned", "alibi", "rotary", "none"] = "learned", places: int = 512,
        place_offset: int = 0, types: int = 2, embed_norm: bool = True, window: int | None = None,
        pattern: tuple[str, ...] = ("global",), theta: float = 10000.0, local_theta: float | None = None,
        act: str = "gelu", gated: bool = False, norm: Literal["post", "pre"] = "post", eps: float = 1e-12,
        norm_bias: bool = True, qkv: Literal["fused", "separate"] = "fused", attention_bias: bool = True,
        in_bias: bool = True, out_bias: bool = True, dropout: float = 0.1, attention_dropout: float = 0.1,
        inner_dropout: float = 0.0, embed_dropout: float | None = None, first_norm: bool = True,
        final_norm: bool | None = None, std: float = 0.02, scaled_init: bool = False, pooler: bool = False,
        pool: Literal["cls", "mean"] = "mean", share: str | None = None, sparse: bool = False, fast: bool = True,
        tokenizer: Any, networks: Any = None,
    ) -> None:
        super().__init__()
        self.width, self.pooling, self.sparse, self.fast = width, pool, sparse, fast
        self.parts = LayerParts(
            width=width, heads=heads, hidden=4 * width if hidden is None else hidden, act=act, gated=gated, norm=norm,
            eps=eps, norm_bias=norm_bias, qkv=qkv, attention_bias=attention_bias, in_bias=in_bias, out_bias=out_bias,
            dropout=dropout, attention_dropout=attention_dropout, inner_dropout=inner_dropout, std=std,
            shrink=(2 * depth) ** -0.5 if scaled_init else 1.0, fast=fast,
        )
        inside: Literal["none", "rotary", "alibi"] = "none" if positions == "learned" else positions
        self.embed = Embeddings.of(share, networks) or Embeddings(
            size=tokenizer.size, width=embed_width or width, pad_id=tokenizer.pad_id,
            places=places if positions == "learned" else 0, place_offset=place_offset, types=types,
            norm=embed_norm, eps=eps, norm_bias=norm_bias, std=std,
            dropout=dropout if embed_dropout is None else embed_dropout,
        )
        self.project = nn.Linear(self.embed.width, width) if self.embed.width != width else None
        self.body = Transformer(self.parts, StackParts(
            depth=depth, positions=inside, window=window, pattern=pattern, theta=theta, local_theta=local_theta,
            first_norm=first_norm, final_norm=final_norm,
        ))
        self.pooler = nn.Linear(width, width) if pooler else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, std) cut off at two deviations for what is not in the stack or the embeddings; zero biases."""
        for module in (self.project, self.pooler):
            if module is not None:
                std = self.parts.std
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
                nn.init.zeros_(module.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The layers, for layer-wise learning rates (timm's convention)."""
        # no group is caught in the stem: timm reads what is caught as numbers
        return {
            "stem": r"^(?:embed|project)\.",
            "blocks": [(r"^body\.layers\.(\d+)", None), (r"^body\.norm", (99999,))],
        }

    @property
    def layer_taps(self) -> tuple[str, ...]:
        """The embedding and the output of each layer: what a weighted sum of layers runs over."""
        return ("embed", *(f"block.{i}" for i in range(len(self.body.layers))))

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The states of a view's text: (B, N, width), zero at padding; (T, width) for a flat view.

        taps: ``embed``, and those of `mmask.api.Transformer`; states of places are padded or flat as ``state`` is.
        """
        tokens = view.only()
        if tokens.ids is None:
            raise PlanError("this encoder takes ids, not values")
        layout = tokens.layout
        segments = Segments.of(layout, tokens.ids.device, padded=not self.fast)
        x = self.embed(*self._inputs(tokens, segments))
        found = {"embed": x} if "embed" in taps else {}
        if self.project is not None:
            x = linear(self.project, x, fast=self.fast)
        inner = [tap for tap in taps if tap != "embed"]
        few = Few.of(view, segments) if self.sparse and self.training and not inner else None
        rows = None if few is None else few.rows
        x, more = self.body(x, segments, self._rules(view, segments), taps=inner, wanted=rows)
        restore = segments.put_flat if tokens.flat else segments.put
        found |= {tap: value if value.ndim == 4 else restore(value) for tap, value in more.items()}
        if "embed" in found:
            found["embed"] = restore(found["embed"])
        state = restore(x) if few is None else few.put(x)
        layout = layout if few is None else few.layout
        return Encoded(layout, state, 0, self._pooled(state, tokens), found, cu_seqlens=tokens.cu_seqlens)

    def _inputs(self, tokens: Tokens, segments: Segments) -> tuple[Tensor, Tensor, Tensor | None]:
        """Packed ids, positions and types (T,)."""
        assert tokens.ids is not None
        ids = segments.take_flat(tokens.ids) if tokens.flat else segments.take(tokens.ids)
        types = tokens.layout.groups.get("type")
        packed = None if types is None else segments.take(types.to(ids.device)).clamp_min(0)
        return ids, segments.positions, packed

    def _rules(self, view: View, segments: Segments) -> list[Rule]:
        """What the view asks for beside padding, for all layers or for each."""
        several = isinstance(view.visibility, tuple)
        seen = [view.visible(layer) for layer in range(len(self.body.layers) if several else 1)]
        rules = []
        for one in seen:
            plain = one.valid is None and one.keys is None and one.prefix is None and one.segments is None
            if plain and one.window is None and one.explicit is None:
                rules.append(Rule(causal=one.causal))
            else:
                rules.append(Rule(allowed=one.dense(segments.length, segments.positions.device)))
        return rules

    def _pooled(self, state: Tensor, tokens: Tokens) -> Tensor | None:
        if self.pooler is None and self.training:
            return None  # no loss reads it
        layout = tokens.layout
        if tokens.cu_seqlens is not None:
            first = state[tokens.cu_seqlens[:-1].long()]
        else:
            first = state[:, 0]
        if self.pooler is not None:
            return F.tanh(self.pooler(first))
        if self.pooling == "cls":
            return first
        count = layout.lengths().clamp_min(1).to(state.device)[:, None]
        if tokens.cu_seqlens is None:  # padding is zero
            return (state if self.fast or layout.valid is None else state * layout.valid[..., None]).sum(1) / count
        sample = torch.arange(layout.batch, device=state.device).repeat_interleave(tokens.cu_seqlens.diff().long())
        return state.new_zeros(layout.batch, state.shape[1]).index_add_(0, sample, state) / count
