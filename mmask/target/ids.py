"""Ids: the clean ids themselves are the truth (words, codes of a frozen front end)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mmask.errors import RecipeError
from mmask.protocols import Scene
from mmask.types import Prediction, Scored, Target, Tokens


class Ids:
    """The ids of clean tokens at scored places.

    stream: the stream whose ids are predicted, when there are several. tokenizer, tokenizers (wired): the only one, or
    that of ``stream``, offers ``size``, the number of ids.
    """

    def __init__(
        self, *, stream: str | None = None, tokenizer: Any = None, tokenizers: Mapping[str, Any] | None = None
    ) -> None:
        self.stream = stream
        own = tokenizer if stream is None else (tokenizers or {}).get(stream, tokenizer)
        self.dim: int | None = getattr(own, "size", None)

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S,) int64. extra: ``seen`` (V,), how often each id stands at the other valid places of the batch."""
        view = scene.view("clean")
        tokens = view.only() if self.stream is None else view.tokens[self.stream]
        if tokens.ids is None or tokens.flat or tokens.ids.ndim != 2:
            raise RecipeError("target 'ids' needs padded tokens with one id a place, not values and not a flat batch")
        ids = scored.take(tokens.ids)
        return Target(ids, scored, extra={} if self.dim is None else {"seen": self._seen(tokens, ids)})

    def _seen(self, tokens: Tokens, scored: torch.Tensor) -> torch.Tensor:
        everywhere = tokens.pack().data
        counts = torch.zeros(self.dim or 0, device=scored.device)
        counts.scatter_add_(0, everywhere, torch.ones_like(everywhere, dtype=counts.dtype))
        counts.scatter_add_(0, scored, -torch.ones_like(scored, dtype=counts.dtype))
        return counts.clamp_min_(0)

    def trivial(self, target: Target) -> Prediction:
        """The logits that know how often each id occurs at places of the batch that are not scored, and nothing else:
        what learning has to beat. Unseen ids share what one occurrence of each seen id would take (Witten and Bell
        1991)."""
        seen = target.extra.get("seen")
        if seen is None:
            raise RecipeError("the floor of target 'ids' needs a tokenizer that offers 'size'")
        kinds = (seen > 0).sum().clamp_min(1)
        share = (seen.double() + kinds / len(seen)) / (seen.sum() + kinds)
        return Prediction(share.log().float().expand(len(target.value), -1), target.scored)
