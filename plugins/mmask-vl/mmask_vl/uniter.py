"""UniterEncoder: words and regions as one sequence through one transformer (UNITER)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import (
    Embeddings,
    Encoded,
    LayerParts,
    Layout,
    PlanError,
    Segments,
    StackParts,
    Tokens,
    Transformer,
    View,
)


class RegionEmbeddings(nn.Module):
    """Features and boxes, each through a linear layer and a norm, summed with the type's row; norm, dropout.

    ``hidden`` (dim,) is added to the features of hidden regions, which are zeros, before anything else; the paper says
    zeros alone, the released code adds the vector. learned: False leaves it out.
    """

    def __init__(
        self, *, dim: int, code: int, width: int, eps: float, std: float, dropout: float, learned: bool = True
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.features, self.box = nn.Linear(dim, width), nn.Linear(code, width)
        self.features_norm, self.box_norm, self.norm = (nn.LayerNorm(width, eps=eps) for _ in range(3))
        self.hidden = nn.Parameter(torch.zeros(dim)) if learned else None
        for layer in (self.features, self.box):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)
        if self.hidden is not None:
            nn.init.trunc_normal_(self.hidden, std=std, a=-2 * std, b=2 * std)

    def forward(self, features: Tensor, boxes: Tensor, replaced: Tensor | None, kind: Tensor) -> Tensor:
        """(T, dim), (T, code), (T,) bool or None, and the type's row (width,) -> (T, width)."""
        features, boxes = features.to(self.features.weight.dtype), boxes.to(self.box.weight.dtype)
        if self.hidden is not None and replaced is not None:
            features = features + replaced[:, None] * self.hidden
        x = self.features_norm(self.features(features)) + self.box_norm(self.box(boxes)) + kind
        return F.dropout(self.norm(x), self.dropout, self.training)


class UniterEncoder(nn.Module):
    """Words first, then regions, packed without padding; BERT's layers, norms after each part.

    width, depth, heads, hidden: of the transformer. places: positions of words. types: rows of the table of types;
    words take row 0, regions row 1. learned: whether hidden regions get a vector, see `RegionEmbeddings`. text,
    regions: names of the streams. tokenizers (wired): of both.
    """

    prefix = 0

    def __init__(
        self, *, tokenizers: Any, width: int = 768, depth: int = 12, heads: int = 12, hidden: int | None = None,
        places: int = 512, types: int = 2, eps: float = 1e-12, dropout: float = 0.1, attention_dropout: float = 0.1,
        act: str = "gelu", std: float = 0.02, learned: bool = True, text: str = "text", regions: str = "regions",
        fast: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.text, self.regions, self.fast = width, text, regions, fast
        self.sides = (text, regions)
        words, self.region_tokenizer = tokenizers[text], tokenizers[regions]
        self.parts = LayerParts(
            width=width, heads=heads, hidden=hidden or 4 * width, eps=eps, dropout=dropout, act=act, std=std,
            attention_dropout=attention_dropout, fast=fast,
        )
        self.embed = Embeddings(
            size=words.size, width=width, pad_id=words.pad_id, places=places, types=max(2, types), eps=eps, std=std,
            dropout=dropout,
        )
        self.embed_regions = RegionEmbeddings(
            dim=self.region_tokenizer.dim, code=self.region_tokenizer.code, width=width, eps=eps, std=std,
            dropout=dropout, learned=learned,
        )
        self.body = Transformer(self.parts, StackParts(depth=depth))
        self.pooler = nn.Linear(width, width)
        nn.init.trunc_normal_(self.pooler.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(self.pooler.bias)

    def word_states(self, tokens: Tokens) -> Tensor:
        """(B, L, width): the embedded words."""
        ids = tokens.ids
        if ids is None or tokens.flat:
            raise PlanError("this encoder takes padded ids of words")
        places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return self.embed(ids.flatten(), places.flatten()).view(*ids.shape, self.width)

    def region_states(self, tokens: Tokens) -> Tensor:
        """(B, R, width): the embedded regions."""
        if tokens.values is None or tokens.flat or self.embed.types is None:
            raise PlanError("this encoder takes padded values of regions")
        features, boxes = self.region_tokenizer.split(tokens.values)
        replaced = None if tokens.replaced is None else tokens.replaced.flatten().to(features.device)
        made = self.embed_regions(features.flatten(0, 1), boxes.flatten(0, 1), replaced, self.embed.types.weight[1])
        return made.view(*features.shape[:2], self.width)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """Streams ``text`` and ``regions``; ``pooled`` is tanh of a layer on the first word's state.

        taps: ``embed`` (B, L + R, width), ``block.i`` and the others of `mmask.api.Transformer`, words first.
        """
        text, regions = view.tokens[self.text], view.tokens[self.regions]
        states = self.word_states(text), self.region_states(regions)
        return self._together((text.layout, regions.layout), states, taps)

    def one_side(self, view: View, stream: str) -> dict[str, Tensor]:
        """One stream embedded, ``states`` (B, N, width) and ``valid`` (B, N) bool: all that is apart here."""
        tokens = view.tokens[stream]
        states = self.word_states(tokens) if stream == self.text else self.region_states(tokens)
        return {"states": states, "valid": valid_places(tokens.layout).to(states.device)}

    def join(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Encoded:
        """Words and regions of P pairs, as `one_side` made them, through the transformer."""
        layouts = [_layout_of(half["valid"]) for half in (first, second)]
        return self._together((layouts[0], layouts[1]), (first["states"], second["states"]), ())

    def _together(
        self, layouts: tuple[Layout, Layout], embedded: tuple[Tensor, Tensor], taps: Sequence[str]
    ) -> Encoded:
        joint = together(*layouts)
        segments = Segments.of(joint, self.pooler.weight.device, padded=not self.fast)
        start = segments.take(torch.cat(embedded, 1))
        x, inner = self.body(start, segments, taps=[tap for tap in taps if tap != "embed"])
        states = segments.put(x)
        found = {name: value if name.endswith(".attention") else segments.put(value) for name, value in inner.items()}
        if "embed" in taps:
            found["embed"] = segments.put(start)
        length = layouts[0].length
        streams = {
            self.text: Encoded(layouts[0], states[:, :length]),
            self.regions: Encoded(layouts[1], states[:, length:]),
        }
        return Encoded(layouts[0], pooled=torch.tanh(self.pooler(states[:, 0])), streams=streams, taps=found)


def together(first: Layout, second: Layout) -> Layout:
    """Two streams of the same samples as one sequence: who is padding, and nothing else."""
    if first.valid is None and second.valid is None:
        return Layout(first.batch, first.length + second.length)
    valid = torch.cat([valid_places(part) for part in (first, second)], 1)
    return Layout(first.batch, first.length + second.length, valid=valid)


def valid_places(layout: Layout) -> Tensor:
    """(B, N) bool on the host: which places are no padding."""
    if layout.valid is None:
        return torch.ones(layout.batch, layout.length, dtype=torch.bool)
    return layout.valid.cpu()


def _layout_of(valid: Tensor) -> Layout:
    return Layout(valid.shape[0], valid.shape[1], valid=valid.cpu())
