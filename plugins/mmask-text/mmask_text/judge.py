"""MaskedWords: how well a model predicts the words of held-out texts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.api import Batch, Judged, RecipeError, Tokens, WholeModel
from mmask_text.words import WordModel

_MODES = ("plans", "each", "both")


class MaskedWords:
    """Masked accuracy and loss under fixed plans, and pseudo-perplexity with each word hidden in turn.

    ``masked_accuracy``, ``masked_loss`` (nats) and ``masked_perplexity``, its exponential: one pass with the run's own
    corruption, under plans that depend on the text and the seed alone. ``accuracy`` and ``pseudo_perplexity``: every
    piece is replaced by [MASK] alone and predicted from all others; exp of the mean negative log-likelihood of a piece
    (Salazar et al. 2020, arXiv 1910.14659). ``bits``: the same in bits for each UTF-8 byte of the text, which two
    vocabularies can be compared by. Special tokens are never hidden.

    mode: ``plans``, ``each`` or ``both``. objective: the word objective where a recipe has several. chunk: texts with
    one hidden piece that are run at once. texts: at most so many for ``each``, evenly spread, since its cost grows with
    the square of the length; None takes all.
    """

    wants = "model"

    def __init__(
        self, *, mode: str = "both", objective: str = "", chunk: int = 64, texts: int | None = 200
    ) -> None:
        if mode not in _MODES or chunk < 1 or (texts is not None and texts < 1):
            raise RecipeError(
                f"masked takes mode {' or '.join(_MODES)}, chunk >= 1 and texts >= 1; got {mode}, {chunk}, {texts}"
            )
        self.mode, self.objective, self.chunk, self.texts = mode, objective, chunk, texts

    def __call__(self, whole: WholeModel, *, seed: int) -> Judged:
        """The numbers, in the order of the table."""
        words = WordModel(whole.model, self.objective)
        numbers: dict[str, float] = {}
        about: dict[str, Any] = {"objective": words.name}
        if self.mode != "each":
            found = _Sums()
            for batch in whole.stored(len(whole)):
                found.add(*self._planned(words, batch, seed))
            numbers |= {"masked_accuracy": found.accuracy, "masked_loss": found.loss,
                        "masked_perplexity": math.exp(min(found.loss, 700.0))}
            about["hidden"] = found.count
        if self.mode != "plans":
            found, size = _Sums(), 0
            for batch in whole.stored(len(whole) if self.texts is None else min(self.texts, len(whole))):
                for row in range(len(batch)):
                    found.add(*self._each(words, batch.rows(row, row + 1)))
                    size += _size(words, batch.rows(row, row + 1))
            numbers |= {"accuracy": found.accuracy, "pseudo_perplexity": math.exp(min(found.loss, 700.0)),
                        "bits": found.loss * found.count / max(size, 1) / math.log(2)}
            about |= {"pieces": found.count, "bytes": size}
        return Judged(numbers, about)

    @torch.no_grad()
    def _planned(self, words: WordModel, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
        """Logits (S, size) and truth (S,) at the hidden places of the run's plans."""
        model: Any = words.model
        was = model.seed
        model.seed = seed
        try:
            scene = model.scene(batch, model.draw(batch))
            prediction = scene.predict(words.name)
        finally:
            model.seed = was
        truth = prediction.scored.take(scene.view("clean").tokens[words.stream].ids)
        return prediction.value.float(), truth

    def _each(self, words: WordModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same of one text, every maskable place hidden alone."""
        tokens = words.tokenizer(batch)
        assert tokens.ids is not None
        places = tokens.layout.maskable()[0].nonzero()[:, 0].to(tokens.ids.device)
        parts = [words.logits(*hidden) for hidden in _one_hidden(tokens, places, words.vocabulary.mask_id, self.chunk)]
        return torch.cat(parts) if parts else tokens.ids.new_zeros(0, 1).float(), tokens.ids[0, places]


def _one_hidden(tokens: Tokens, places: Tensor, mask_id: int, chunk: int) -> Iterator[tuple[Tokens, Tensor]]:
    """Copies of one text with one of ``places`` masked in each, and the flat index of that place in each copy."""
    assert tokens.ids is not None
    for some in places.split(chunk):
        rows = torch.arange(len(some), device=some.device)
        ids = tokens.ids.expand(len(some), -1).clone()
        ids[rows, some] = mask_id
        several = tokens.layout.samples(torch.zeros(len(some), dtype=torch.int64))
        yield Tokens(several, ids=ids), rows * ids.shape[1] + some


def _size(words: WordModel, batch: Batch) -> int:
    """Bytes of UTF-8 of the text that the maskable pieces write."""
    tokens = words.tokenizer(batch)
    ids = tokens.ids[0].cpu()[tokens.layout.maskable()[0].cpu()]
    return len(words.vocabulary.decode(np.asarray(ids)).encode())


class _Sums:
    """Negative log-likelihood in nats and right answers, summed."""

    def __init__(self) -> None:
        self.nats, self.right, self.count = 0.0, 0, 0

    def add(self, logits: Tensor, truth: Tensor) -> None:
        """(S, size) logits and (S,) ids."""
        if len(truth):
            self.nats += float(F.cross_entropy(logits, truth, reduction="sum"))
            self.right += int((logits.argmax(-1) == truth).sum())
            self.count += len(truth)

    @property
    def loss(self) -> float:
        """Nats a place."""
        return self.nats / max(1, self.count)

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / max(1, self.count)
