"""Cuboids: pixels of hidden cuboids, each channel brought to its own mean and deviation (VideoMAE)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmask.api import Prediction, RecipeError, Scene, Scored, Target


class Cuboids:
    """The pixels of clean cuboids at scored places, in [0, 1], optionally normalised a channel.

    normalise: subtract the mean and divide by the deviation of each channel over the pixels of its cuboid (Tong
        et al. 2022, section 4.1; the reference divides by the unbiased deviation plus eps, outside the root,
        where MAE takes all channels together and eps under the root).
    eps: added to the deviation, on the scale of [0, 1]. Below it a cuboid counts as flat: what a codec leaves of a
        plain background, a few steps of 1/255, is then not blown up to unit variance.
    tokenizer (wired): offers ``scale`` and ``in_chans``. stream: whose cuboids, when there are several.
    """

    def __init__(
        self, *, tokenizer: Any, normalise: bool = True, eps: float = 1e-6, stream: str | None = None
    ) -> None:
        if not hasattr(tokenizer, "scale") or not hasattr(tokenizer, "in_chans"):
            raise RecipeError("target 'cuboids' needs a tokenizer of clips", hint="use the tokenizer 'tubelet'")
        if normalise and tokenizer.dim == tokenizer.in_chans:
            raise RecipeError("a cuboid of one pixel has no deviation to be normalised by", hint="set normalise=false")
        self.tokenizer, self.normalise, self.eps, self.stream = tokenizer, normalise, eps, stream
        self.dim = int(tokenizer.dim)

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, D), detached; with ``normalise``, ``mean`` and ``std`` (S, 1, C) in ``extra``."""
        view = scene.view("clean")
        tokens = view.only() if self.stream is None else view.tokens[self.stream]
        if tokens.values is None or tokens.flat:
            raise RecipeError("target 'cuboids' needs padded tokens with values")
        value = scored.take(tokens.values)
        std, mean = self.tokenizer.scale(value.dtype, value.device)
        value = value * std + mean
        if not self.normalise:
            return Target(value, scored)
        cells = value.unflatten(-1, (-1, self.tokenizer.in_chans))  # S (pixels of a cuboid) C
        centre = cells.mean(1, keepdim=True)
        spread = cells.var(1, keepdim=True).sqrt() + self.eps if len(cells) else torch.ones_like(centre)
        return Target(((cells - centre) / spread).flatten(1), scored, extra={"mean": centre, "std": spread})

    def trivial(self, target: Target) -> Prediction:
        """The prediction that knows each cuboid's own mean colour and nothing else: what learning has to beat.

        With ``normalise`` that is 0, whose loss is (n - 1) / n for cuboids of n pixels that are far from flat, and 0
        for flat ones.
        """
        cells = target.value.unflatten(-1, (-1, self.tokenizer.in_chans))
        return Prediction(cells.mean(1, keepdim=True).expand_as(cells).flatten(1), target.scored)

    def restore(self, value: Tensor, target: Target) -> Tensor:
        """Predictions (S, D) as normalised tokens; each cuboid's own mean and deviation are put back."""
        if self.normalise:
            cells = value.unflatten(-1, (-1, self.tokenizer.in_chans))
            value = (cells * target.extra["std"] + target.extra["mean"]).flatten(1)
        std, mean = self.tokenizer.scale(value.dtype, value.device)
        return (value - mean) / std
