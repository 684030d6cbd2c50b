"""Values: the clean tokens themselves are the truth (pixels, spectrogram bins, ...)."""

from __future__ import annotations

from typing import Any, Literal

import torch

from mmask.errors import RecipeError
from mmask.protocols import Scene
from mmask.types import Prediction, Scored, Target


class Values:
    """The values of clean tokens at scored places, optionally normalised inside each place.

    normalise: subtract the mean and divide by the standard deviation over all values of a place together
        (MAE's ``norm_pix_loss``; He et al. 2021, section 4.1). ``extra`` of the target then holds
        ``mean`` and ``std`` (S, 1), which undo it.
    ddof: 1 divides the variance by D - 1, as the PyTorch reference does; 0 by D, as NumPy would.
    eps: added to the variance, under the root; a flat place becomes zeros.
    stream: the stream whose tokens are predicted, when there are several.
    trivial_knows: what `trivial` says: ``mean``, each place's own mean; ``nothing``, 0, for tokens that were brought to
        mean 0 over a recording or a data set, whose places differ in their mean.
    """

    def __init__(
        self, *, normalise: bool = False, ddof: int = 1, eps: float = 1e-6, stream: str | None = None,
        trivial_knows: Literal["mean", "nothing"] = "mean", tokenizer: Any = None,
    ) -> None:
        if trivial_knows not in ("mean", "nothing"):
            raise RecipeError(f"target.trivial_knows is '{trivial_knows}'; it is mean or nothing")
        self.trivial_knows = trivial_knows
        if ddof not in (0, 1):
            raise RecipeError(f"target.ddof is {ddof}; it is 0 or 1")
        self.normalise, self.ddof, self.eps, self.stream = normalise, ddof, eps, stream
        self.dim: int | None = getattr(tokenizer, "dim", None)  # values predicted at each place

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, D), detached."""
        view = scene.view("clean")
        tokens = view.only() if self.stream is None else view.tokens[self.stream]
        if tokens.values is None or tokens.flat:
            raise RecipeError("target 'values' needs padded tokens with values, not ids and not a flat batch")
        value = scored.take(tokens.values)
        if not self.normalise:
            return Target(value, scored)
        if not len(value):  # nothing is scored: torch warns of a variance of nothing
            return Target(value, scored, extra={"mean": value[:, :1], "std": value[:, :1]})
        var, mean = torch.var_mean(value, dim=-1, correction=self.ddof, keepdim=True)
        std = (var + self.eps).sqrt_()
        return Target((value - mean).div_(std), scored, extra={"mean": mean, "std": std})

    def trivial(self, target: Target) -> Prediction:
        """The prediction that knows each place's own mean and nothing else, or 0: what learning has to beat.

        With ``normalise`` that is 0, whose loss is (D - 1) / D for places that are not flat.
        """
        if self.trivial_knows == "nothing":
            return Prediction(torch.zeros_like(target.value), target.scored)
        mean = target.value.mean(-1, keepdim=True)
        return Prediction(mean.expand_as(target.value), target.scored)

    def restore(self, value: torch.Tensor, target: Target) -> torch.Tensor:
        """Predictions (S, D) on the scale of the tokens; normalised ones get each place's own mean and
        standard deviation back, which a model does not predict."""
        if not self.normalise:
            return value
        return value * target.extra["std"] + target.extra["mean"]

