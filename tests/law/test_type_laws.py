"""Laws of visibility, scored places, terms, losses, packed tokens and batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmask.errors import PlanError
from mmask.types import (
    Batch,
    Encoded,
    Layout,
    Losses,
    MaskPlan,
    SampleId,
    Scored,
    Term,
    Tokens,
    View,
    Visibility,
)

VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


def naive(v, sample, query, key):
    """Whether a query may see a key, read off the docstring of Visibility."""
    checks = [
        v.valid is None or bool(v.valid[sample, key]),
        v.keys is None or bool(v.keys[sample, key]),
        v.segments is None or bool(v.segments[sample, query] == v.segments[sample, key]),
        v.explicit is None or bool(v.explicit[sample, query, key]),
    ]
    if v.causal:
        inside = v.prefix is not None and max(query, key) < v.prefix[sample]
        checks.append(key <= query or inside)
    if v.window is not None:
        left, right = v.window
        checks += [left is None or key >= query - left, right is None or key <= query + right]
    return all(checks)


@pytest.mark.parametrize("kinds", [
    {"valid": VALID}, {"keys": torch.tensor([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0]]).bool()}, {"causal": True},
    {"causal": True, "prefix": torch.tensor([3, 0])}, {"segments": torch.tensor([[0, 0, 1, 1, 2], [0] * 5])},
    {"window": (1, 1)}, {"window": (2, None)}, {"window": (None, 0)},
    {"explicit": torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.4},
    {"valid": VALID, "causal": True, "window": (2, 0), "segments": torch.tensor([[0, 0, 0, 1, 1], [0] * 5])},
], ids="+".join)
def test_a_dense_map_says_what_the_policy_says(kinds):
    policy = Visibility(**kinds)
    dense = policy.dense(5).expand(2, 5, 5)
    for sample, query in np.ndindex(2, 5):
        row = [naive(policy, sample, query, key) for key in range(5)]
        if not any(row):
            row[query] = True  # a lonely query sees itself
        assert dense[sample, query].tolist() == row


def test_full_visibility_needs_no_map_and_a_prefix_needs_causality():
    assert Visibility().full
    assert Visibility().dense(4) is None
    assert not Visibility(causal=True).full
    with pytest.raises(PlanError, match="prefix"):
        Visibility(prefix=torch.tensor([1]), valid=VALID[:1]).dense(5)


def test_a_view_says_what_each_layer_sees():
    near, far = Visibility(window=(1, 1)), Visibility()
    view = View("v", {}, visibility=(near, far))
    assert view.visible(0) is near
    assert view.visible(1) is far
    assert View("v", {}).visible(7).full
    with pytest.raises(PlanError, match="2 layers"):
        view.visible(2)


def test_an_empty_term_is_exactly_zero_and_gives_zero_gradients():
    weight = torch.nn.Parameter(torch.ones(3))
    empty = Losses({"a": Term((weight[None] * torch.zeros(0, 3)).sum(), 0.0)})
    assert empty["a"].item() == 0.0
    empty.total().backward()
    assert torch.equal(weight.grad, torch.zeros(3))


def test_terms_of_micro_batches_add_up_to_the_term_of_the_batch():
    values = torch.rand(10, dtype=torch.float64)
    whole = Losses({"a": Term(values.sum(), 10.0, 2.0), "b": Term(values[:3].square().sum(), 3.0)})
    counts = {"a": 10.0, "b": 3.0}
    parts = [
        Losses({"a": Term(values[s].sum(), len(values[s]), 2.0), "b": Term(t.square().sum(), len(t))})
        for s, t in ((slice(0, 4), values[:3]), (slice(4, 10), values[:0]))
    ]
    torch.testing.assert_close(sum(part.total(counts) for part in parts), whole.total())
    assert whole["a"].item() == pytest.approx(values.mean().item())
    assert dict(whole.items()).keys() == {"a", "b"}
    assert len(whole) == 2


def test_a_term_that_nobody_declared_has_no_denominator():
    with pytest.raises(PlanError, match="'b'"):
        Losses({"b": Term(torch.zeros(()), 1.0)}).total({"a": 1.0})


def test_scored_places_count_take_and_know_their_samples():
    layout = Layout(2, 5, valid=VALID)
    hidden = torch.tensor([[0, 1, 0, 0, 1], [0, 0, 1, 0, 0]]).bool()
    scored = Scored.hidden(MaskPlan.of_hidden(layout, hidden))
    dense = torch.arange(10.0).view(2, 5)
    assert scored.take(dense).tolist() == [1.0, 4.0, 7.0]
    assert scored.rows().tolist() == [0, 0, 1]
    assert scored.count() == 3
    assert Scored.valid(layout).count() == 8
    assert Scored.valid(Layout(2, 5)).count() == Scored(layout).count() == 10
    assert Scored(layout, "pooled").count() == 2
    assert replace(scored, weight=torch.tensor([0.5, 0.0, 2.0])).count() == 2.5
    with pytest.raises(PlanError, match="cells need"):
        Scored(layout, "cell").count()


def test_scored_cells_are_hidden_places_and_hidden_cells():
    layout = Layout(1, 3, channels=2)
    plan = MaskPlan.of_hidden(layout, torch.tensor([[True, False, False]]))
    with pytest.raises(PlanError, match="no cells"):
        Scored.cells(plan)
    cells = torch.tensor([[[True, False], [False, True], [False, False]]])
    assert Scored.cells(replace(plan, cells=cells)).weight.tolist() == [[[1, 1], [0, 1], [0, 0]]]


def test_packed_tokens_are_the_padded_ones_without_padding():
    layout = Layout(2, 5, valid=VALID)
    tokens = Tokens(layout, values=torch.randn(2, 5, 3), replaced=VALID)
    packed = tokens.pack()
    assert packed.flat
    assert packed.cu_seqlens.tolist() == [0, 5, 8]
    assert torch.equal(packed.values, tokens.values[VALID])
    assert packed.replaced.shape == (8,)
    assert packed.layout is layout
    assert packed.pack() is packed


def test_states_at_scored_places_are_the_same_padded_and_packed():
    layout = Layout(2, 5, valid=VALID)
    state = torch.randn(2, 5, 3)
    padded = Encoded(layout, state)
    packed = Encoded(layout, state[VALID], cu_seqlens=torch.tensor([0, 5, 8], dtype=torch.int32))
    prefixed = Encoded(layout, torch.cat([torch.zeros(2, 1, 3), state], 1), prefix=1)
    for scored in (Scored.valid(layout), Scored(layout, index=torch.tensor([0, 4, 7]))):
        for encoded in (padded, packed, prefixed):
            assert torch.equal(encoded.at(scored), scored.take(state))
    with pytest.raises(PlanError, match="were encoded"):
        Encoded(layout.take(torch.tensor([[0, 1], [0, 1]])), state[:, :2]).at(Scored(layout))


def test_other_pairings_of_a_batch_carry_their_layout():
    tokens = Tokens(Layout(2, 5, valid=VALID), ids=torch.arange(10).view(2, 5))
    other = tokens.samples(torch.tensor([1, 1, 0]))
    assert other.ids[:, 0].tolist() == [5, 5, 0]
    assert other.layout.lengths().tolist() == [3, 3, 5]
    assert other.layout.batch == 3
    with pytest.raises(PlanError, match="flat"):
        tokens.pack().samples(torch.tensor([0]))


def test_rows_of_a_batch_keep_ids_names_and_position_together():
    batch = Batch(
        {"x": torch.arange(8).view(4, 2), "text": list("abcd")}, np.arange(4, dtype=np.uint64),
        np.arange(4), tuple("wxyz"), 2, 100, {"crop": np.arange(8).reshape(4, 2)},
    )
    part = batch.rows(1, 3)
    assert (len(part), part.names, part.position, part.epoch) == (2, ("x", "y"), 101, 2)
    assert part["text"] == ["b", "c"]
    assert part["x"].tolist() == [[2, 3], [4, 5]]
    assert part.augment["crop"].tolist() == [[2, 3], [4, 5]]
    assert np.array_equal(part.keys(0).rows("p"), batch.keys(0).rows("p")[1:3])
    with pytest.raises(KeyError, match="no field 'y'"):
        batch["y"]


def test_the_same_key_in_another_shard_is_another_sample():
    parts = (("a", "0.tar", "1"), ("a", "1.tar", "1"), ("a", "0.ta", "r1"))
    assert len({SampleId(*part).digest() for part in parts}) == 3


def test_a_layout_refuses_tensors_of_another_shape():
    with pytest.raises(PlanError, match="valid"):
        Layout(2, 5, valid=VALID[:1])
    with pytest.raises(PlanError, match="grid"):
        Layout(2, 5, (2, 2))
    with pytest.raises(PlanError, match="no groups 'word'"):
        Layout(2, 5).group("word")
