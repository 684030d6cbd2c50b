"""LxmertEncoder: words and objects, each through its own layers, then through layers in which they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import (
    CrossStack,
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
    did_you_mean,
    linear,
)


class ObjectEmbedding(nn.Module):
    """(norm(linear(features)) + norm(linear(box))) / 2, then dropout."""

    def __init__(self, *, dim: int, width: int, eps: float, std: float, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.features, self.features_norm = nn.Linear(dim, width), nn.LayerNorm(width, eps=eps)
        self.box, self.box_norm = nn.Linear(4, width), nn.LayerNorm(width, eps=eps)
        for layer in (self.features, self.box):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, box: Tensor) -> Tensor:
        """(T, F) and (T, 4) corners in [0, 1] -> (T, width)."""
        made = (self.features_norm(linear(self.features, features)) + self.box_norm(self.box(box))) / 2
        return F.dropout(made, self.dropout, self.training) if self.dropout else made


@dataclass(frozen=True)
class Stream:
    """One stream on its way: packed states and where they lie."""

    states: Tensor
    segments: Segments


class LxmertEncoder(nn.Module):
    """Language layers, object layers, cross layers; ``pooled`` is tanh(linear) of the first word.

    language, objects, cross: numbers of layers. hidden: width of the feed-forward parts, 4 x width by default. places,
    types: positions and segments of words; of both, the first row stays as it was drawn, as in the reference. std: of
    N(0, std). text, regions: names of the streams. tokenizers (wired): of both; that of regions offers ``dim``, the
    numbers of a region, and ``split``, its values as these and its box, whose corners come first.
    fast: padding is packed away; False keeps it, and writes attention out.
    """

    prefix = 0

    def __init__(
        self, *, tokenizers: Mapping[str, Any], width: int = 768, heads: int = 12, language: int = 9, objects: int = 5,
        cross: int = 5, hidden: int | None = None, places: int = 512, types: int = 2, act: str = "gelu",
        eps: float = 1e-12, dropout: float = 0.1, attention_dropout: float = 0.1, std: float = 0.02,
        text: str = "text", regions: str = "regions", fast: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.text, self.regions, self.fast = width, text, regions, fast
        self.sides = (text, regions)
        words, self.region_tokenizer = tokenizers[text], tokenizers[regions]
        self.parts = LayerParts(
            width=width, heads=heads, hidden=hidden or 4 * width, act=act, eps=eps, dropout=dropout, std=std,
            attention_dropout=attention_dropout, fast=fast,
        )
        self.embed = Embeddings(
            size=words.size, width=width, pad_id=words.pad_id, places=places, types=types, eps=eps, std=std,
            dropout=dropout, first_still=True,
        )
        self.look = ObjectEmbedding(
            dim=self.region_tokenizer.dim, width=width, eps=eps, std=std, dropout=dropout
        )
        self.language = Transformer(self.parts, StackParts(depth=language))
        self.objects = Transformer(self.parts, StackParts(depth=objects))
        self.cross = CrossStack(self.parts, cross)
        self.pooler = nn.Linear(width, width)
        nn.init.trunc_normal_(self.pooler.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(self.pooler.bias)

    def words(self, tokens: Tokens) -> Stream:
        """Embedded words."""
        if tokens.ids is None or tokens.flat:
            raise PlanError(f"stream '{self.text}' of this encoder takes padded ids of words")
        segments = Segments.of(tokens.layout, tokens.ids.device, padded=not self.fast)
        types = tokens.layout.groups.get("type")
        flat = None if types is None else segments.take(types.to(tokens.ids.device).clamp_min(0))
        return Stream(self.embed(segments.take(tokens.ids), segments.positions, flat), segments)

    def looks(self, tokens: Tokens) -> Stream:
        """Embedded objects."""
        if tokens.values is None or tokens.flat:
            raise PlanError(f"stream '{self.regions}' of this encoder takes padded features of regions")
        segments = Segments.of(tokens.layout, tokens.values.device, padded=not self.fast)
        features, box = self.region_tokenizer.split(tokens.values.to(self.pooler.weight.dtype))
        return Stream(self.look(segments.take(features), segments.take(box[..., :4])), segments)

    def apart(self, view: View) -> tuple[Stream, Stream]:
        """Words and objects through their own layers, before they meet."""
        return self._alone(view, self.text), self._alone(view, self.regions)

    def _alone(self, view: View, stream: str) -> Stream:
        tokens, written = view.tokens[stream], stream == self.text
        start, layers = (self.words(tokens), self.language) if written else (self.looks(tokens), self.objects)
        return Stream(layers(start.states, start.segments)[0], start.segments)

    def one_side(self, view: View, stream: str) -> dict[str, Tensor]:
        """One stream after its own layers: ``states`` (B, N, width) and ``valid`` (B, N) bool."""
        made = self._alone(view, stream)
        states, layout = made.segments.put(made.states), view.tokens[stream].layout
        valid = torch.ones(states.shape[:2], dtype=torch.bool) if layout.valid is None else layout.valid
        return {"states": states, "valid": valid.to(states.device)}

    def join(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Encoded:
        """Words and objects of P pairs, as `one_side` made them, through the cross layers."""
        layouts = [_layout_of(half["valid"]) for half in (first, second)]
        streams = []
        for half, layout in zip((first, second), layouts, strict=True):
            segments = Segments.of(layout, half["states"].device, padded=not self.fast)
            streams.append(Stream(segments.take(half["states"]), segments))
        words, looks, _ = self.meet(streams[0], streams[1])
        return self._met((layouts[0], layouts[1]), words, looks, {})

    def meet(
        self, words: Stream, looks: Stream, taps: Sequence[str] = ()
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Both through the cross layers -> words (B, X, width), objects (B, O, width), and the taps."""
        named = _by_layer(taps, len(self.cross.layers))
        x, y, found = words.states, looks.states, {}
        for number, layer in enumerate(self.cross.layers):
            asked = named.get(number, {})
            x, y, inner = layer(x, y, words.segments, looks.segments, tuple(asked.values()))
            found.update({tap: inner[side] for tap, side in asked.items()})
        return words.segments.put(x), looks.segments.put(y), found

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """Streams ``text`` and ``regions``, and ``pooled`` (B, width).

        taps: ``cross.i.words``, the shares (B, H, X, O) with which words look at objects in cross layer i, negative
        from the end; ``cross.i.objects`` (B, H, O, X), the other way.
        """
        words, looks, found = self.meet(*self.apart(view), taps=taps)
        layouts = view.tokens[self.text].layout, view.tokens[self.regions].layout
        return self._met(layouts, words, looks, found)

    def _met(
        self, layouts: tuple[Layout, Layout], words: Tensor, looks: Tensor, taps: Mapping[str, Tensor]
    ) -> Encoded:
        streams = {self.text: Encoded(layouts[0], words), self.regions: Encoded(layouts[1], looks)}
        return Encoded(layouts[0], pooled=torch.tanh(self.pooler(words[:, 0])), streams=streams, taps=taps)


def _by_layer(taps: Sequence[str], depth: int) -> dict[int, dict[str, str]]:
    """Layer -> tap -> the side whose shares it names. Raises PlanError."""
    sides = {"words": "first", "objects": "second"}
    names = {f"cross.{i}.{end}": (i % depth, side) for i in range(-depth, depth) for end, side in sides.items()}
    out: dict[int, dict[str, str]] = {}
    for tap in taps:
        if tap not in names:
            raise PlanError(
                f"no tap '{tap}'{did_you_mean(tap, names)}",
                hint=f"taps are cross.0 to cross.{depth - 1}, each with .words or .objects",
            )
        number, side = names[tap]
        out.setdefault(number, {})[tap] = side
    return out


def _layout_of(valid: Tensor) -> Layout:
    return Layout(valid.shape[0], valid.shape[1], valid=valid.cpu())
