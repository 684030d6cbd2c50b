"""Black: the pixels of hidden cells become 0, before anything is computed from them (VIOLET)."""

from __future__ import annotations

import torch

from mmask.api import MaskPlan, RecipeError, Scene, Tokens, View


class Black:
    """Hidden cells of a frame tokenizer, whose values are the pixels in [0, 1] themselves, become black. A hidden pixel
    that is not finite becomes 0 too."""

    site = "signal"

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """Tokens of the same layout."""
        tokens = view.tokens[stream]
        if tokens.values is None or tokens.flat:
            raise RecipeError("corruption 'black' needs padded tokens of pixels, not ids or a flat batch")
        hidden = plan.hidden.to(tokens.values.device, non_blocking=True)
        return tokens.with_data(torch.where(hidden[:, :, None], tokens.values.new_zeros(()), tokens.values))
