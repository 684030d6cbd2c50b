"""The encoder's laws: neither padding nor packing nor the neighbours change a state, in any choice of parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmask.api import Batch, PlanError, Tokens, View, Visibility
from mmask.testing import checkpoint_units
from mmask_text.encoder import TextEncoder
from mmask_text.ids import IdTokenizer

KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "separate": {"qkv": "separate", "attention_bias": False, "types": 0},
    "factored": {"embed_width": 8, "pooler": True},
    "alibi": {"positions": "alibi", "gated": True, "in_bias": False},
    "rotary": {"positions": "rotary", "norm": "pre", "first_norm": False, "norm_bias": False, "gated": True},
    "windows": {
        "positions": "rotary", "window": 6, "pattern": ("global", "local"), "norm": "pre", "local_theta": 100.0,
    },
    "narrow": {"positions": "alibi", "window": 4, "pattern": ("local",)},
    "plain": {"positions": "none", "window": 2, "pattern": ("local",), "act": "relu"},
}
EACH = pytest.mark.parametrize("kind", KINDS)


def encoder_of(kind: str, words: Any, *, fast: bool = True, heads: int = 3) -> TextEncoder:
    torch.manual_seed(0)
    tokenizer = IdTokenizer(vocabulary=words())
    made = TextEncoder(width=24, depth=3, heads=heads, tokenizer=tokenizer, fast=fast, **KINDS[kind]).double().eval()
    with torch.no_grad():  # far from uniform attention, and no bias that is trivially zero
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def view_of(batch: Batch, words: Any, *, packed: bool = False, visibility: Any = None) -> View:
    tokens = IdTokenizer(vocabulary=words())(batch)
    return View("clean", {"text": tokens.pack() if packed else tokens}, visibility=visibility)


def rows(batch: Batch) -> torch.Tensor:
    return torch.arange(batch["text"].shape[1]) < batch["text.length"][:, None]


@EACH
def test_the_packed_way_is_the_plain_way(kind, words, texts):
    """Two roads, one answer: states, pooled, taps and gradients, also for samples long enough to be cut into chunks."""
    batch = texts(5, 40, 9, 9, 40, 1, 17)
    taps = ["embed", "block.0", "block.-1.queries", "block.1.values", "block.1.attention"]
    made = {}
    for fast in (True, False):
        encoder = encoder_of(kind, words, fast=fast)
        encoded = encoder(view_of(batch, words), taps=taps)
        valid = rows(batch)
        weight = torch.linspace(-1, 1, 24, dtype=torch.float64) * torch.arange(1, 41)[:, None]
        ((encoded.state * weight)[valid].sum() + encoded.pooled.square().sum()).backward()
        grads = {name: p.grad for name, p in encoder.named_parameters()}
        states = {tap: encoded.taps[tap][valid] for tap in taps if "attention" not in tap}
        shares = encoded.taps["block.1.attention"].transpose(1, 2)[valid]
        made[fast] = {"state": encoded.state[valid], "pooled": encoded.pooled, "shares": shares, **states, **grads}
    for name, want in made[False].items():
        torch.testing.assert_close(made[True][name], want, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@EACH
def test_neither_padding_nor_packing_nor_neighbours_change_a_state(kind, words, texts):
    encoder = encoder_of(kind, words)
    batch = texts(5, 40, 9, 9, 40, 1, 17)
    valid = rows(batch)
    states = encoder(view_of(batch, words)).state
    assert torch.equal(states[~valid], torch.zeros_like(states[~valid]))
    flat = encoder(view_of(batch, words, packed=True))
    torch.testing.assert_close(flat.state, states[valid])
    assert flat.cu_seqlens.tolist() == [0, 5, 45, 54, 63, 103, 104, 121]
    wider = Batch(
        {"text": torch.nn.functional.pad(batch["text"], (0, 6), value=7), "text.length": batch["text.length"]},
        batch.ids, batch.visits,
    )
    torch.testing.assert_close(encoder(view_of(wider, words)).state[:, :40][valid], states[valid])
    alone = Batch({"text": batch["text"][2:3, :9]}, batch.ids[2:3], batch.visits[2:3])
    torch.testing.assert_close(encoder(view_of(alone, words)).state[0], states[2, :9])
    changed = Batch({**batch.fields, "text": batch["text"].clone()}, batch.ids, batch.visits)
    changed["text"][1, 5] = 6 if changed["text"][1, 5] != 6 else 7
    other = encoder(view_of(changed, words)).state
    assert torch.equal(other[0], states[0])
    assert not torch.equal(other[1], states[1])


def test_pooled_of_a_flat_view_is_that_of_a_padded_one(words, texts):
    batch = texts(5, 12, 9)
    for kind in ("bert", "factored"):
        encoder = encoder_of(kind, words)
        torch.testing.assert_close(
            encoder(view_of(batch, words, packed=True)).pooled, encoder(view_of(batch, words)).pooled
        )


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["bert", "alibi", "windows"])
def test_a_view_may_restrict_who_sees_whom(kind, fast, words, texts):
    """Causality: a later word changes no earlier state. Segments: rows of two texts are two texts."""
    encoder, batch = encoder_of(kind, words, fast=fast), texts(12, 12, 7)
    causal = Visibility(causal=True)
    states = encoder(view_of(batch, words, visibility=causal)).state
    changed = Batch({**batch.fields, "text": batch["text"].clone()}, batch.ids, batch.visits)
    changed["text"][:, 5] += 1
    other = encoder(view_of(changed, words, visibility=causal)).state
    torch.testing.assert_close(other[:, :5], states[:, :5])
    assert (other[:, 5:7] - states[:, 5:7]).abs().max() > 1e-3
    explicit = Visibility(explicit=torch.ones(12, 12, dtype=torch.bool).tril()[None].expand(3, -1, -1))
    same = encoder(view_of(batch, words, visibility=(explicit, causal, explicit))).state
    torch.testing.assert_close(same[rows(batch)], states[rows(batch)])
    two = Visibility(segments=(torch.arange(12) >= 4).long().expand(3, -1))
    apart = encoder(view_of(batch, words, visibility=two)).state
    again = encoder(view_of(changed, words, visibility=two)).state
    torch.testing.assert_close(again[:, :4], apart[:, :4])


def test_dropped_places_keep_their_positions(words, texts):
    """Distances are those of the text, not of what is left of it."""
    batch = texts(10, 6)
    keep = torch.tensor([[0, 2, 3, 9], [0, 1, 5, 5]])
    kept = torch.tensor([[True] * 4, [True, True, True, False]])
    for kind in KINDS:
        made = []
        for fast in (True, False):
            clean = view_of(batch, words).only()
            tokens = Tokens(clean.layout.take(keep, kept), ids=clean.ids.gather(1, keep))
            made.append(encoder_of(kind, words, fast=fast)(View("masked", {"text": tokens})).state[kept])
        torch.testing.assert_close(made[0], made[1], rtol=1e-9, atol=1e-9)


def test_types_and_texts_that_are_too_long(words, texts):
    encoder, batch = encoder_of("bert", words), texts(10, 6)
    made = []
    for kind in (0, 1):
        types = {"text.type": torch.full((2, 10), kind)}
        made.append(encoder(view_of(Batch({**batch.fields, **types}, batch.ids, batch.visits), words)).state)
    plain = encoder(view_of(batch, words)).state
    torch.testing.assert_close(made[0], plain)
    assert (made[1] - plain).abs().max() > 0.01
    with pytest.raises(PlanError, match="600 pieces is longer than the 512"):
        encoder(view_of(texts(600), words))
    with pytest.raises(PlanError, match=r"no tap 'block\.3'"):
        encoder(view_of(batch, words), taps=["block.3"])


def test_layers_are_computed_again_on_the_way_back(words, texts):
    batch, grads = texts(10, 6), []
    for again in (False, True):
        encoder = encoder_of("windows", words).train()
        if again:
            checkpoint_units(encoder)
        encoder(view_of(batch, words)).state.square().sum().backward()
        grads.append({name: p.grad for name, p in encoder.named_parameters()})
    for name, want in grads[0].items():
        torch.testing.assert_close(grads[1][name], want)


@EACH
def test_half_precision_stays_near(kind, words, texts):
    """Under autocast in bf16, packed and plain, in the precision that it has."""
    batch = texts(5, 40, 9, 9, 17)
    valid = rows(batch)
    exact = encoder_of(kind, words).float()(view_of(batch, words)).state[valid]
    for fast in (True, False):
        encoder = encoder_of(kind, words, fast=fast).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            state = encoder(view_of(batch, words)).state[valid].float()
        assert (state - exact).abs().mean() < 0.03 * exact.abs().mean()
        state.sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in encoder.parameters())
