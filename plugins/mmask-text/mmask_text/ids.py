"""IdTokenizer: a batch's ids as they are, with what a masker needs to know about their places."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from mmask.api import Batch, Layout, PlanError, RecipeError, Tokens, partners
from mmask_text.pair import exchange
from mmask_text.vocabulary import DEFAULT, open_vocabulary, vocabulary_assets


class IdTokenizer:
    """Ids made by the decoder in loader workers -> Tokens.

    vocabulary: as `mmask_text.vocabulary.open_vocabulary` takes it; or an object that has what a `Vocabulary` has.
    size: rows of an embedding table: the vocabulary's, or more (padded for fast products, or a published model's).
    field: the batch's field: ``<field>`` (B, N) int64 with ``<field>.length`` (B,), or (B, N) without padding;
    ``<field>.word`` (B, N), the word each piece belongs to, -1 at special tokens, becomes the group ``word``;
    ``<field>.type`` (B, N), the segment of a pair, becomes the group ``type``, which encoders embed.
    pairs: ``next`` exchanges the second segments of half of all neighbours (rows 2i and 2i + 1) before anything else,
    by a draw from (seed, sample, visit), see `mmask_text.pair`; the recipe sets ``data.group = 2``. ``other`` gives a
    ``share`` of samples the whole text of another one of their ``group`` consecutive ones, before anything is hidden
    (LXMERT's matching); the recipe sets ``data.group`` to the same. apart: the field (B,) in which two samples must
    differ to exchange texts, so that a caption of the same picture is no wrong one; None, or a batch without it, takes
    any. Embeddings and exports are made of texts as they are (`plain`).
    """

    def __init__(
        self, *, vocabulary: Any = DEFAULT, size: int | None = None, field: str = "text",
        pairs: Literal["given", "next", "other"] = "given", seed: int = 0, group: int = 2, share: float = 0.5,
        apart: str | None = None,
    ) -> None:
        if pairs not in ("given", "next", "other") or group < 2 or not 0 <= share <= 1:
            raise RecipeError(
                f"pairs is '{pairs}' (given, next or other), group {group} (2 or more), share {share} (from 0 to 1)"
            )
        if isinstance(vocabulary, str):
            vocabulary = open_vocabulary(vocabulary)
        self.vocabulary, self.field, self.pairs, self.seed = vocabulary, field, pairs, seed
        self.group, self.share, self.apart = group, share, apart
        self.size = int(vocabulary.size if size is None else size)
        if self.size < vocabulary.size:
            raise RecipeError(f"a table of {self.size} rows cannot hold a vocabulary of {vocabulary.size} ids")
        self.pad_id: int | None = vocabulary.pad_id
        self.mask_id: int = vocabulary.mask_id
        self._special = torch.tensor(sorted(vocabulary.special_ids), dtype=torch.int64, device="cpu")

    assets = staticmethod(vocabulary_assets)

    def layout(self, batch: Batch) -> Layout:
        """(B, N) places; special and padded ones are known, and the groups ``word`` and ``type`` where given."""
        batch = self._paired(batch)
        ids = self._ids(batch)
        if ids.is_meta:  # shapes only: every place counts
            return Layout(len(ids), ids.shape[1])
        valid = self._valid(batch, ids)
        special = torch.isin(ids, self._special.to(ids.device))
        groups = {
            name: batch[f"{self.field}.{name}"] for name in ("word", "type") if f"{self.field}.{name}" in batch.fields
        }
        if valid is not None:
            special &= valid
            groups = {name: ids.masked_fill(~valid, -1) for name, ids in groups.items()}
        return Layout(len(ids), ids.shape[1], valid=valid, special=special, groups=groups)

    def __call__(self, batch: Batch) -> Tokens:
        """The ids (B, N)."""
        return Tokens(self.layout(batch), ids=self._ids(self._paired(batch)))

    def follows(self, batch: Batch) -> Tensor:
        """(B,) int64: 1 where the second segment follows the first as written, or the text is the sample's own (pairs =
        other), 0 where not.

        Raises PlanError for a batch without pairs.
        """
        if self.pairs == "other":
            return (self._sources(batch) == torch.arange(len(batch))).to(torch.int64)
        if self.pairs == "next":
            return self._exchanged(batch)[1]
        if f"{self.field}.follows" not in batch.fields:
            raise PlanError(
                f"the batch has no field '{self.field}.follows'",
                hint="decode pairs: pair=order, or pair=next with tokenize.text.pairs=next",
            )
        return batch[f"{self.field}.follows"]

    def plain(self) -> IdTokenizer:
        """The same without exchanging anything."""
        made = copy(self)
        made.pairs = "given"
        return made

    def _paired(self, batch: Batch) -> Batch:
        """The batch as it is, with second segments exchanged, or with texts of others."""
        if self.pairs == "given" or batch[self.field].is_meta:
            return batch
        if self.pairs == "other":
            source = self._sources(batch)
            own = {name: value[source.to(value.device)] for name, value in batch.fields.items() if self._mine(name)}
            return replace(batch, fields={**batch.fields, **own})
        return replace(batch, fields={**batch.fields, **self._exchanged(batch)[0]})

    def _mine(self, name: str) -> bool:
        return name == self.field or name.startswith(f"{self.field}.")

    def _sources(self, batch: Batch) -> Tensor:
        """(B,) int64: the sample whose text each one has."""
        kinds = batch.fields.get(self.apart or "", torch.arange(len(batch)))
        return partners(batch.keys(self.seed), kinds, group=self.group, share=self.share, purpose="text.other")

    def _exchanged(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        names = [self.field, *(f"{self.field}.{end}" for end in ("type", "word", "sentence"))]
        fields = {name: batch[name] for name in names if name in batch.fields}
        if f"{self.field}.type" not in fields:
            raise PlanError(f"the batch has no field '{self.field}.type'", hint="decode pairs: pair=next")
        ids = batch[self.field]  # without lengths when no row is padded
        length = batch.fields.get(f"{self.field}.length", torch.full((len(ids),), ids.shape[1]))
        rows = torch.arange(len(ids))
        if len(rows) % 2:  # a text without a neighbour (the end of held-out samples) is its own, and stays as it is
            rows = torch.cat([rows, rows[-1:]])
        keys = Batch({}, batch.ids[rows.numpy()], batch.visits[rows.numpy()]).keys(self.seed)
        made, length, follows = exchange(
            {name: value[rows] for name, value in fields.items()}, length[rows], keys, types=f"{self.field}.type"
        )
        follows[len(ids) - 1] |= len(rows) > len(ids)
        kept = {name: value[: len(ids)] for name, value in made.items()}
        return {**kept, f"{self.field}.length": length[: len(ids)]}, follows[: len(ids)]

    def show(self, batch: Batch, row: int) -> str:
        """The text of a sample, as its ids write it."""
        ids = batch[self.field][row].cpu()
        length = batch.fields.get(f"{self.field}.length")
        return str(self.vocabulary.decode(ids[: len(ids) if length is None else int(length[row])].numpy()))

    def example(self, count: int) -> dict[str, Tensor]:
        """``count`` rows of random ids of unlike lengths, for exports."""
        length = min(24, 4 + 4 * count)
        ids = torch.randint(0, self.vocabulary.size, (count, length))
        lengths = torch.randint(4, length + 1, (count,))
        lengths[0] = length
        beyond = torch.arange(length) >= lengths[:, None]
        return {self.field: ids.masked_fill(beyond, self.pad_id or 0), f"{self.field}.length": lengths}

    def _ids(self, batch: Batch) -> Tensor:
        ids = batch[self.field]
        if ids.ndim != 2 or ids.dtype != torch.int64:
            raise PlanError(
                f"field '{self.field}' is {tuple(ids.shape)} {ids.dtype}; ids are (B, N) int64",
                hint="decode it with the text decoder",
            )
        if ids.device.type == "cpu" and ids.numel() and int(ids.max()) >= self.size:
            raise PlanError(
                f"field '{self.field}' has the id {int(ids.max())}; the tokenizer's vocabulary ends at {self.size - 1}",
                hint="name the same vocabulary for the decoder and for the tokenizer",
            )
        return ids

    def _valid(self, batch: Batch, ids: Tensor) -> Tensor | None:
        name = f"{self.field}.length"
        if name not in batch.fields:
            return None
        return torch.arange(ids.shape[1], device=ids.device) < batch[name].to(ids.device)[:, None]
