"""A ragged toy modality as a plugin: vectors of different number a sample, for what packs and buckets them.

    Host([ragged.entry()])              # recipe ``ragged/ragged-tiny``
    ragged.shards(folder)               # its samples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmask.errors import SampleError
from mmask.keyed import Keys, fold
from mmask.plugin.component import Component
from mmask.plugin.entries import Entry
from mmask.recipe.schema import NetworkSection, PackSection, Recipe, use
from mmask.testing import fakes
from mmask.testing.shards import write_shards
from mmask.types import Batch, Encoded, Layout, Sample, Tokens, View


class RaggedDecoder:
    """The part ``bin``, n numbers, as ``x`` (n, 4) float32. A sample of no numbers is unreadable."""

    ragged = ("x",)

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``x``: (n, 4) float32, n >= 1."""
        data = np.frombuffer(sample.parts["bin"], np.uint8).astype(np.float32)
        if not len(data):
            raise SampleError(f"{sample.id} is empty")
        return {"x": torch.from_numpy(np.sin(data[:, None] * np.arange(1, 5, dtype=np.float32)))}


class RaggedTokenizer:
    """Each row of ``x`` (B, N, 4) is a token, as far as ``x.length`` (B,) says."""

    dim = 4

    def layout(self, batch: Batch) -> Layout:
        """Padding is not valid."""
        length = batch["x"].shape[1]
        return Layout(len(batch), length, valid=torch.arange(length)[None] < batch["x.length"].cpu()[:, None])

    def __call__(self, batch: Batch) -> Tokens:
        """The rows."""
        return Tokens(self.layout(batch), batch["x"])


class RaggedEncoder(nn.Module):
    """One linear layer and the mean of the valid places of the sample. width: channels of a state."""

    prefix = 0

    def __init__(self, *, tokenizer: Any, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(tokenizer.dim, width)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """(B, N, width); padding takes no part."""
        tokens = view.only()
        assert tokens.layout.valid is not None
        assert tokens.values is not None
        valid = tokens.layout.valid.to(tokens.values.device)[..., None]
        x = self.embed(tokens.values) * valid
        mean = x.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp_min(1)
        return Encoded(tokens.layout, torch.tanh(x + mean))


def ragged_tiny() -> Recipe:
    """Packs of 24 vectors, four a step."""
    made = fakes.tiny()
    data = made.data.model_copy(update={
        "decode": {"x": use("ragged")}, "batch_size": 4, "pack": PackSection(by="x", length=24, window=16),
    })
    return made.model_copy(update={
        "name": "ragged-tiny", "data": data, "tokenize": {"x": use("ragged")}, "mask": use("random", ratio=0.3),
        "networks": {"encoder": NetworkSection(use="ragged", width=8)}, "preview": None, "profiles": {},
    })


_CLASSES = {"decoder": "RaggedDecoder", "tokenizer": "RaggedTokenizer", "encoder": "RaggedEncoder"}


def entry() -> Entry:
    """The fakes, and the ragged components beside them."""
    more = [Component(kind, "ragged", f"mmask.testing.ragged:{name}", "ragged") for kind, name in _CLASSES.items()]
    return fakes.entry(
        "fakes", Component("recipe", "ragged-tiny", "mmask.testing.ragged:ragged_tiny", "ragged vectors"), *more
    )


def shards(
    folder: Path, counts: Sequence[int] = (30, 25), *, stem: str = "t", bad: frozenset[int] = frozenset()
) -> str:
    """Samples of 3 to 40 numbers; rows of each shard in ``bad`` are unreadable. -> the brace pattern."""

    def parts(shard: int, row: int) -> dict[str, Any]:
        size = 0 if row in bad else 3 + fold(stem, shard, row) % 10 + (28 if row % 9 == 4 else 0)
        return {"bin": bytes((7 * i + row) % 256 for i in range(size))}

    return write_shards(folder, counts, parts, stem=stem)
