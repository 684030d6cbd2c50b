"""HideRegions: the features of hidden regions become zeros and are marked; their boxes stay (UNITER, LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mmask.api import MaskPlan, PlanError, Scene, Tokens, View


class HideRegions:
    """Zeros for the features of hidden places, also where they were not finite, and `Tokens.replaced` there, to which
    an encoder may add a learned vector. Where a region lies stays known.

    tokenizers (wired): that of the stream splits values into features and boxes.
    """

    site = "feature"

    def __init__(self, *, tokenizers: Mapping[str, Any]) -> None:
        self.tokenizers = tokenizers

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens:
        """Tokens of the same layout. Raises PlanError for tokens that are no regions."""
        tokens, tokenizer = view.tokens[stream], self.tokenizers[stream]
        if tokens.values is None or tokens.flat or not hasattr(tokenizer, "split"):
            raise PlanError(f"stream '{stream}' holds no regions, which corruption 'hide-regions' hides")
        features, boxes = tokenizer.split(tokens.values)
        hidden = plan.hidden.to(features.device, non_blocking=True)
        features = torch.where(hidden[..., None], features.new_zeros(()), features)
        return tokens.with_data(torch.cat([features, boxes], -1), replaced=hidden)
