"""WordModel: the part of a model that says which word stands at a place, whatever trains beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.api import Batch, MaskedModel, MaskedObjective, Scored, Tokens, UsageError, View
from mmask_text.mlm import MlmHead


class WordModel:
    """The network and the head of a model's masked word objective (ELECTRA's: the generator and its head).

    objective: its name; by default the first one with a word head. Raises UsageError for a model that has none.
    """

    def __init__(self, model: MaskedModel, objective: str = "") -> None:
        found: dict[str, Any] = {
            name: one for name, one in model.objectives.items()
            if isinstance(one, MaskedObjective) and isinstance(one.head, MlmHead)
        }
        if objective and objective not in found:
            raise UsageError(f"objective '{objective}' predicts no words", hint=f"those that do: {', '.join(found)}")
        if not found:
            heads = sorted({type(getattr(one, "head", one)).__name__ for one in model.objectives.values()})
            raise UsageError(
                f"this run has no head that predicts words; its objectives end in {', '.join(heads)}",
                hint="masked language models have one (bert-*, roberta-*, mosaicbert-*, modernbert-*), and electra-*",
            )
        self.name = objective or next(iter(found))
        one = found[self.name]
        self.model, self.head = model, one.head
        self.network: Any = model.network(one.network)
        self.stream: str = one.stream or next(iter(model.tokenizers))
        tokenizer: Any = model.tokenizers[self.stream]
        self.tokenizer, self.vocabulary = tokenizer, tokenizer.vocabulary
        self.device = next(self.network.parameters()).device

    @property
    def longest(self) -> int | None:
        """Places of a text at most, where positions are a table; None without a limit."""
        embed = self.network.embed
        return None if embed.positions is None else int(embed.positions.num_embeddings - embed.place_offset)

    def batch(self, texts: Sequence[np.ndarray]) -> Batch:
        """Ids of each text, special tokens in place -> a padded batch."""
        lengths = torch.tensor([len(ids) for ids in texts])
        ids = torch.full((len(texts), int(lengths.max())), self.tokenizer.pad_id or 0, dtype=torch.int64)
        for row, one in enumerate(texts):
            ids[row, : len(one)] = torch.as_tensor(one)
        field, count = self.tokenizer.field, len(texts)
        made = {field: ids.to(self.device), f"{field}.length": lengths.to(self.device)}
        return Batch(made, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))

    @torch.no_grad()
    def logits(self, tokens: Tokens, places: Tensor) -> Tensor:
        """(S, size) float32 of the flat places (S,) of padded tokens; ids beyond the vocabulary never win."""
        encoded = self.network(View("clean", {self.stream: tokens}))
        value = self.head(encoded, Scored(tokens.layout, index=places)).value.float()
        value[:, self.vocabulary.size :] = -torch.inf
        return value
