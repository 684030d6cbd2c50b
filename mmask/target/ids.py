"""Ids: the clean ids themselves are the truth (words, codes of a frozen front end)."""

from __future__ import annotations

from typing import Any

import torch

from mmask.errors import RecipeError
from mmask.protocols import Scene
from mmask.types import Prediction, Scored, Target


class Ids:
    """The ids of clean tokens at scored places.

    stream: the stream whose ids are predicted, when there are several. tokenizer (wired): offers ``size``, the
    number of ids.
    """

    def __init__(self, *, stream: str | None = None, tokenizer: Any = None) -> None:
        self.stream = stream
        self.dim: int | None = getattr(tokenizer, "size", None)

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S,) int64."""
        view = scene.view("clean")
        tokens = view.only() if self.stream is None else view.tokens[self.stream]
        if tokens.ids is None or tokens.flat or tokens.ids.ndim != 2:
            raise RecipeError("target 'ids' needs padded tokens with one id a place, not values and not a flat batch")
        return Target(scored.take(tokens.ids), scored)

    def trivial(self, target: Target) -> Prediction:
        """The logits that know how often each id occurs among the scored places of the batch, and nothing else: what
        learning has to beat. Their loss is the entropy of the ids."""
        ids = target.value
        size = self.dim or (int(ids.max()) + 1 if len(ids) else 1)
        share = torch.bincount(ids, minlength=size).double() / max(1, len(ids))
        logits = share.clamp_min(1e-12).log().float()
        return Prediction(logits.expand(len(ids), -1), target.scored)
