"""Next sentence prediction: exchanged segments, masks on what is really there, one answer a pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.api import Batch, NetworkSection, PlanError, use
from mmask_text.ids import IdTokenizer
from mmask_text.recipes.bert import bert_base_nsp


def pairs(count: int = 8) -> Batch:
    """[CLS] A [SEP] B [SEP]: the ids of text i are 10 i + 5 and up to the first, 10 i + 10 and up to the second."""
    rows, types = torch.zeros(count, 12, dtype=torch.int64), torch.zeros(count, 12, dtype=torch.int64)
    lengths = []
    for i in range(count):
        first, second = 2 + i % 2, 3 + i % 3
        row = [2, *range(10 * i + 5, 10 * i + 5 + first), 3, *range(10 * i + 10, 10 * i + 10 + second), 3]
        rows[i, : len(row)] = torch.tensor(row)
        types[i, first + 2 : len(row)] = 1
        lengths.append(len(row))
    fields = {"text": rows, "text.type": types, "text.length": torch.tensor(lengths)}
    return Batch(fields, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))


def test_neighbours_exchange_second_segments_and_the_label_knows(words):
    tokenizer, batch = IdTokenizer(vocabulary=words(100), pairs="next"), pairs()
    tokens, follows = tokenizer(batch), tokenizer.follows(batch)
    assert 0 < int(follows.sum()) < 8
    for i, (row, types, length) in enumerate(
        zip(tokens.ids, tokens.layout.groups["type"], tokens.layout.lengths(), strict=True)
    ):
        inside = (types == 1) & (row > 4)
        owner = i if follows[i] else i ^ 1
        assert (row[inside] // 10 == owner + 1).all()
        assert (types[: int(length)] >= 0).all()
        assert (types[int(length) :] == -1).all()
    full = Batch({name: batch[name][:, :7] for name in ("text", "text.type")}, batch.ids, batch.visits)
    assert tokenizer(full).layout.lengths().tolist()  # a batch without padding has no lengths
    odd = batch.rows(0, 5)
    assert torch.equal(tokenizer(odd).ids[4, :6], batch["text"][4, :6])
    assert torch.equal(tokenizer.follows(odd), torch.cat([follows[:4], torch.ones(1, dtype=torch.int64)]))
    same = IdTokenizer(vocabulary=words(100))(batch)
    assert torch.equal(same.ids, batch["text"])


def test_the_recipe_learns_both(words, build):
    recipe = bert_base_nsp()
    recipe.networks["encoder"] = NetworkSection(use="text", width=16, depth=1, heads=2, pooler=True)
    recipe.tokenize["text"] = use("ids", vocabulary=words(100), pairs="next")
    model, batch = build(recipe), pairs()
    assert model.group == 2
    plans = model.draw(batch)
    assert model.denominators(plans)["next"] == 8
    losses = model(batch, plans)
    assert set(losses.terms) == {"words", "next"}
    losses.total().backward()
    assert model.encoder.pooler.weight.grad.abs().sum() > 0
    assert not (plans.plan("mask").hidden & ~plans.layout().valid).any()


def test_what_is_no_pair_is_an_error(words, texts):
    with pytest.raises(PlanError, match=r"no field 'text\.type'"):
        IdTokenizer(vocabulary=words(), pairs="next")(texts(5, 6))
    with pytest.raises(PlanError, match=r"no field 'text\.follows'"):
        IdTokenizer(vocabulary=words()).follows(texts(5, 6))
    batch = texts(5, 6)
    batch["text"][0, 1] = 49
    with pytest.raises(PlanError, match="has the id 49; the tokenizer's vocabulary ends at 9"):
        IdTokenizer(vocabulary=words(10))(batch)
