"""The inputs both sides of an export are run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmask.errors import ExportError, MmaskError
from mmask.keyed import fold, seeded_scope
from mmask.train.ranks import Ranks
from mmask.train.source import StreamReader
from mmask.types import Batch

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.recipe.schema import Recipe
    from mmask.train.model import MaskedModel

COUNT = 4


def make_batch(model: MaskedModel, recipe: Recipe, host: Host) -> Batch:
    """A few inputs: what the tokenizers give as an example, else samples of the run's own data.

    Raises ExportError when there is neither.
    """
    makers = [tokenizer for tokenizer in model.tokenizers.values() if hasattr(tokenizer, "example")]
    if len(makers) == len(model.tokenizers):
        fields: dict[str, Any] = {}
        with seeded_scope(fold(recipe.train.seed, "export")):
            for tokenizer in makers:
                fields |= tokenizer.example(COUNT)
        return of_fields(fields)
    return _stored(recipe, host)


def of_fields(fields: Mapping[str, torch.Tensor]) -> Batch:
    """Fields as a batch of samples 0, 1, ..., each met for the first time."""
    count = len(next(iter(fields.values())))
    return Batch(dict(fields), np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))


def _stored(recipe: Recipe, host: Host) -> Batch:
    try:
        reader = StreamReader(recipe, host, Ranks())
        try:
            batch = reader.sight(COUNT)
        finally:
            reader.close()
    except MmaskError as error:
        raise ExportError(
            f"there is nothing to compare the export on: {error.message}",
            hint="the run's data must be readable, or its tokenizer must offer example(count)",
        ) from error
    if batch is None:
        raise ExportError("there is nothing to compare the export on: the run's data is empty")
    fields = {name: value for name, value in batch.fields.items() if isinstance(value, torch.Tensor)}
    return of_fields(fields)
