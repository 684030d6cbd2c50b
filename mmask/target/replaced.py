"""Replaced: whether a place of a view still has its own id (ELECTRA's originality)."""

from __future__ import annotations

import torch

from mmask.protocols import Scene
from mmask.types import Scored, Target, TargetSource


class Replaced:
    """1 where the ids of ``view`` differ from the clean ones, 0 elsewhere: a draw that hits the original by luck is an
    original. stream: the stream whose ids are compared, when there are several."""

    dim = 1

    def __init__(self, *, view: str = "discriminator", stream: str | None = None) -> None:
        self.view, self.stream = view, stream

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S,) float, 0 or 1."""
        views = (scene.view("clean"), scene.view(self.view))
        clean, seen = (view.only() if self.stream is None else view.tokens[self.stream] for view in views)
        return Target((clean.at(scored) != seen.at(scored)).float(), scored, TargetSource.CORRUPTED)
