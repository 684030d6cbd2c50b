"""Full-size recipes on the meta device: parameters against the papers and against transformers."""

from __future__ import annotations

import pytest
import torch

from mmask_text.recipes.bert import bert_base, bert_base_nsp, bert_large, bert_small, bert_tiny, roberta_base
from mmask_text.recipes.modernbert import modernbert_base
from mmask_text.recipes.mosaicbert import mosaicbert_base

transformers = pytest.importorskip("transformers")


def twin(name: str, **sizes: int):
    """A model of transformers on the meta device; its module is imported outside of it."""
    kind, config = getattr(transformers, f"{name}ForMaskedLM"), getattr(transformers, f"{name}Config")(**sizes)
    with torch.device("meta"):
        return kind(config)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(recipe, build):
    with torch.device("meta"):
        model = build(recipe)
    assert all(p.is_meta for p in model.parameters())
    return model


@pytest.mark.parametrize(("recipe", "paper", "pooler"), [
    (bert_tiny, 4_385_920, 128 * 129),  # "BERT-Tiny 4.4M" and the rest of Turc et al. 2019, with their poolers
    (bert_small, 28_763_648, 512 * 513),
    (bert_base, 109_482_240, 768 * 769),  # "110M"
    (bert_large, 335_141_888, 1024 * 1025),  # "340M"
])
def test_bert(recipe, paper, pooler, build):
    model = on_meta(recipe(), build)
    assert count(model.encoder) + pooler == paper
    c = model.encoder.parts
    theirs = twin(
        "Bert", hidden_size=c.width, num_hidden_layers=len(model.encoder.body.layers), num_attention_heads=c.heads,
        intermediate_size=c.hidden,
    )
    assert count(model) == count(theirs)


def test_bert_with_next_sentences(build):
    """BertForPreTraining: 110,106,428."""
    with_next = on_meta(bert_base_nsp(), build)
    assert count(with_next.encoder) == 109_482_240
    assert count(with_next) == 110_106_428


def test_roberta(build):
    theirs = twin("Roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
    model = on_meta(roberta_base(), build)
    assert count(model) == count(theirs) == 124_697_433  # "125M"
    assert model.encoder.embed.positions.num_embeddings == 514


def test_modernbert(build):
    theirs = twin("ModernBert")
    model = on_meta(modernbert_base(), build)
    assert count(model) == count(theirs) == 149_655_232  # "149M"
    kinds = ["global" if kind == "full_attention" else "local" for kind in theirs.config.layer_types]
    assert model.encoder.body.kinds == tuple(kinds)


def test_mosaicbert(build):
    """BERT-base without positions, with a gate: 12 (768 * 3072 - 3072) more; 30,528 words; no pooler."""
    model = on_meta(mosaicbert_base(), build)
    bert = on_meta(bert_base(), build)
    more = 12 * (768 * 3072 - 3072) + 6 * 768 + 6 - 512 * 768
    assert count(model) == count(bert) + more
    assert 136e6 < count(model) < 138e6  # "137M"
