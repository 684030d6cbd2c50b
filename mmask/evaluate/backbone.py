"""Backbone: an exported network with the tokenizers in front of it, as one module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mmask.train.model import MaskedModel
from mmask.types import Batch


class Backbone(nn.Module):
    """The exported network and the tokenizers in front of it, and nothing that only pretraining used."""

    def __init__(self, model: MaskedModel, answer: Callable[[Batch], Any]) -> None:
        super().__init__()
        self.encoder, self.front_ends = model.encoder, model.front_ends
        self._answer = answer

    def forward(self, batch: Batch) -> Any:
        """(B, width), or what was asked for."""
        return self._answer(batch)
