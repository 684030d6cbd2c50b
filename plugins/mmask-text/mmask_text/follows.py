"""Follows: whether the second segment of a pair follows the first (BERT; ALBERT's order), or a text is a sample's own
(LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mmask.api import Prediction, RecipeError, Scene, Scored, Target, TargetSource


class Follows:
    """1 where the second segment follows the first as it was written, 0 where it does not. stream: of the text, where
    there are several. tokenizers (wired): ``ids`` for that stream.

    With ``tokenize.text.pairs = next`` (Devlin et al. 2019) second segments are exchanged between neighbours in the
    batch; with the decoder's ``pair = order`` (Lan et al. 2020) the halves of a text are. With ``pairs = other`` (Tan
    and Bansal 2019) it is 1 where a sample has its own text and 0 where it has another's.
    """

    dim = 2

    def __init__(self, *, tokenizers: Mapping[str, Any], stream: str | None = None) -> None:
        if stream is None and len(tokenizers) != 1:
            raise RecipeError(f"target 'follows' needs stream, one of {sorted(tokenizers)}")
        tokenizer = next(iter(tokenizers.values())) if stream is None else tokenizers.get(stream)
        if tokenizer is None or not hasattr(tokenizer, "follows"):
            raise RecipeError("target 'follows' needs the tokenizer 'ids', with pairs of texts")
        self.tokenizer = tokenizer

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (B,) int64."""
        return Target(self.tokenizer.follows(scene.batch), scored, TargetSource.PAIRING)

    def trivial(self, target: Target) -> Prediction:
        """The logits of a fair coin."""
        return Prediction(torch.zeros(len(target.value), 2, device=target.value.device), target.scored)
