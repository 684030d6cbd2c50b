"""What the toy specifications share: a word tokenizer, summed losses, a batch of random data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmask.types import Batch, Layout, Term, Tokens

PAD, CLS, SEP, MASK, FIRST, VOCABULARY = 0, 1, 2, 3, 4, 40


class Words:
    """Ids of a text field; [CLS] and [SEP] are special, what lies beyond the length is padding."""

    def layout(self, batch):
        ids, length = batch["ids"], batch["ids.length"]
        valid = torch.arange(ids.shape[1])[None] < length[:, None]
        return Layout(len(batch), ids.shape[1], valid=valid, special=((ids == CLS) | (ids == SEP)) & valid)

    def __call__(self, batch):
        return Tokens(self.layout(batch), ids=batch["ids"])


class Block(nn.Module):
    """One bidirectional layer that keeps its attention."""

    def __init__(self, width):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm, self.feed = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x, valid):
        seen, weights = self.attention(x, x, x, key_padding_mask=~valid, need_weights=True)
        x = self.norm(x + seen)
        return x + F.gelu(self.feed(x)), weights


def cross_entropy(prediction, target):
    """Summed over scored places, counted by them; a confidence weighs the numerator alone."""
    each = F.cross_entropy(prediction.value, target.value, reduction="none")
    if target.weight is not None:
        each = each * target.weight
    return Term(each.sum(), prediction.scored.count())


def binary(prediction, target):
    total = F.binary_cross_entropy_with_logits(prediction.value, target.value, reduction="sum")
    return Term(total, prediction.scored.count())


def batch_of(size, length=16, seed=0, **fields):
    """Random sentences of different lengths between [CLS] and [SEP]."""
    make = torch.Generator().manual_seed(seed)
    lengths = torch.randint(length // 2, length + 1, (size,), generator=make)
    lengths[0] = length
    ids = torch.randint(FIRST, VOCABULARY, (size, length), generator=make)
    place = torch.arange(length)[None]
    ids[:, 0] = CLS
    ids[place == lengths[:, None] - 1] = SEP
    ids[place >= lengths[:, None]] = PAD
    made = {name: make_field(make) for name, make_field in fields.items()}
    return Batch(
        {"ids": ids, "ids.length": lengths, **made},
        np.arange(100, 100 + size, dtype=np.uint64), np.zeros(size, np.int64),
    )


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return SimpleNamespace(
        PAD=PAD, CLS=CLS, SEP=SEP, MASK=MASK, FIRST=FIRST, VOCABULARY=VOCABULARY, Words=Words, Block=Block,
        cross_entropy=cross_entropy, binary=binary, batch=batch_of,
    )
