"""Blank: the pixels of hidden cells become 0, at the signal."""

from __future__ import annotations

import torch

from mmask.api import MaskPlan, RecipeError, Scene, Tokens, View


class Blank:
    """Normalised pixels of hidden patches times 0 (Tian et al. 2023): the picture keeps its size.

    The tokens of a patch tokenizer are the normalised pixels themselves, so they are blanked there, which
    gives the same numbers as blanking the picture and cutting it again. A hidden pixel that is not finite
    becomes 0 too.
    """

    site = "signal"

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """Tokens of the same layout."""
        tokens = view.tokens[stream]
        if tokens.values is None or tokens.flat:
            raise RecipeError("corruption 'blank' needs padded tokens of pixels, not ids or a flat batch")
        hidden = plan.hidden.to(tokens.values.device, non_blocking=True)
        return tokens.with_data(torch.where(hidden[:, :, None], tokens.values.new_zeros(()), tokens.values))
