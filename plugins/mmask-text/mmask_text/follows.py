"""Follows: whether the second segment of a pair is the one that follows the first (BERT; ALBERT's order)."""

from __future__ import annotations

from typing import Any

import torch

from mmask.api import Prediction, RecipeError, Scene, Scored, Target, TargetSource


class Follows:
    """1 where the second segment follows the first as it was written, 0 where it does not. tokenizer (wired): ``ids``.

    With ``tokenize.text.pairs = next`` (Devlin et al. 2019) second segments are exchanged between neighbours in the
    batch; with the decoder's ``pair = order`` (Lan et al. 2020) the halves of a text are.
    """

    dim = 2

    def __init__(self, *, tokenizer: Any) -> None:
        if not hasattr(tokenizer, "follows"):
            raise RecipeError("target 'follows' needs the tokenizer 'ids', with pairs of texts")
        self.tokenizer = tokenizer

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (B,) int64."""
        return Target(self.tokenizer.follows(scene.batch), scored, TargetSource.PAIRING)

    def trivial(self, target: Target) -> Prediction:
        """The logits of a fair coin."""
        return Prediction(torch.zeros(len(target.value), 2, device=target.value.device), target.scored)
