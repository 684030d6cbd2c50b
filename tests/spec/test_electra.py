"""ELECTRA (Clark et al. 2020) said with the types, in miniature.

One plan, two views: the generator sees [MASK] at most chosen places, the discriminator sees the generator's
samples at all of them. The label is the difference of ids. The table of embeddings is shared, nothing else.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mmask.mask.random import RandomMasker
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.types import Action, Encoded, MaskPlan, Prediction, Scored, Target, TargetSource


class Chosen:
    """15 % of the tokens; 85 % of these are masked in the generator's input, the others stay."""

    def plan(self, layout, keys):
        plan = RandomMasker(ratio=0.15, rounding="round", at_least=1).plan(layout, keys)
        masked = torch.from_numpy(keys.uniform("action", layout.length) < 0.85)
        action = torch.where(masked, Action.MASK, Action.KEEP) * plan.hidden
        return replace(plan, action=action.to(torch.uint8))


class MaskIds:
    site = "embedding"

    def __init__(self, mask_id):
        self.mask_id = mask_id

    def __call__(self, view, stream, plan, scene):
        tokens = view.tokens[stream]
        return tokens.with_data(tokens.ids.masked_fill(plan.action == Action.MASK, self.mask_id))


class Sampled:
    """Every chosen slot, the kept ones too, gets a draw from the generator, one uniform number a place."""

    site = "embedding"

    def __init__(self, temperature=1.0):
        self.temperature = temperature

    def __call__(self, view, stream, plan, scene):
        tokens, prediction = view.tokens[stream], scene.predict("mlm")
        u = torch.from_numpy(scene.keys.uniform("sample", plan.layout.length))
        share = (prediction.value.detach().double() / self.temperature).softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(share, prediction.scored.take(u)[:, None]).squeeze(1)
        ids = tokens.ids.clone()
        ids.view(-1)[prediction.scored.index] = drawn.clamp_max(share.shape[1] - 1)
        return tokens.with_data(ids)


class Bert(nn.Module):
    def __init__(self, tiny, table, width):
        super().__init__()
        self.table, self.up = table, nn.Linear(table.embedding_dim, width)
        self.block = tiny.Block(width)

    def forward(self, view, *, taps=()):
        tokens = view.only()
        valid = tokens.layout.valid
        return Encoded(tokens.layout, self.block(self.up(self.table(tokens.ids)), valid)[0])


class VocabularyHead(nn.Module):
    """To embedding size, then the tied table."""

    def __init__(self, table, width):
        super().__init__()
        self.table, self.down = table, nn.Linear(width, table.embedding_dim)
        self.bias = nn.Parameter(torch.zeros(table.num_embeddings))

    def forward(self, encoded, scored):
        return Prediction(self.down(encoded.at(scored)) @ self.table.weight.T + self.bias, scored)


class OneLogit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, encoded, scored):
        return Prediction(self.linear(encoded.at(scored)).squeeze(-1), scored)


def original_id(scene, scored):
    return Target(scored.take(scene.view("clean").only().ids), scored)


def replaced(scene, scored):
    """1 where the discriminator's input differs from the text: a lucky sample is an original."""
    differs = scene.view("discriminator").only().ids != scene.view("clean").only().ids
    return Target(scored.take(differs.float()), scored, TargetSource.CORRUPTED)


def electra(tiny, *, weight=50.0, temperature=1.0):
    torch.manual_seed(1)
    table = nn.Embedding(tiny.VOCABULARY, 8)
    return MaskedModel(
        tokenizers={"text": tiny.Words()},
        maskers={"chosen": PlanMaker(Chosen(), ("text",))},
        views={
            "generator": ViewMaker("clean", "chosen", MaskIds(tiny.MASK)),
            "discriminator": ViewMaker("clean", "chosen", Sampled(temperature)),
        },
        networks={"generator": Bert(tiny, table, 8), "encoder": Bert(tiny, table, 16)},
        objectives={
            "rtd": MaskedObjective(
                name="rtd", network="encoder", view="discriminator", plan="chosen", scored="valid",
                head=OneLogit(16), target=replaced, loss=tiny.binary, weight=weight,
            ),
            "mlm": MaskedObjective(
                name="mlm", network="generator", view="generator", plan="chosen",
                head=VocabularyHead(table, 8), target=original_id, loss=tiny.cross_entropy,
            ),
        },
    )


def private_to_the_generator(model):
    shared = model.network("generator").table.weight
    modules = (model.network("generator"), model.objectives["mlm"])
    return [p for module in modules for p in module.parameters() if p is not shared]


def test_labels_are_differences_and_the_discriminator_never_sees_a_mask(tiny):
    model, batch = electra(tiny), tiny.batch(6)
    scene = model.scene(batch)
    clean, seen = scene.view("clean").only().ids, scene.view("discriminator").only().ids
    hidden = scene.plan("chosen").hidden
    assert (seen != tiny.MASK).all()
    assert (scene.view("generator").only().ids[hidden] == tiny.MASK).any()
    assert torch.equal(clean[~hidden], seen[~hidden])
    label = replaced(scene, Scored.valid(scene.layout())).value
    assert label.sum() == (clean != seen).sum() > 0


def test_the_discriminator_reaches_the_shared_table_but_nothing_of_the_generator(tiny):
    model, batch = electra(tiny), tiny.batch(6)
    model(batch)["rtd"].backward()
    assert all(p.grad is None for p in private_to_the_generator(model))
    assert model.network("generator").table.weight.grad.abs().sum() > 0
    model.zero_grad()
    model(batch)["mlm"].backward()
    assert model.network("encoder").table.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.objectives["rtd"].parameters())


def test_the_discriminators_weight_does_not_move_the_generator(tiny):
    grads = []
    for weight in (1.0, 50.0):
        model = electra(tiny, weight=weight)
        model(tiny.batch(6)).total().backward()
        grads.append([p.grad for p in private_to_the_generator(model)])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_sampling_at_temperature_zero_is_the_arg_max(tiny):
    model, batch = electra(tiny, temperature=1e-9), tiny.batch(6)
    scene = model.scene(batch)
    drawn = scene.predict("mlm").scored.take(scene.view("discriminator").only().ids)
    assert torch.equal(drawn, scene.predict("mlm").value.argmax(-1))


def test_denominators_are_known_before_the_forward_pass(tiny):
    model, batch = electra(tiny), tiny.batch(6)
    plans = model.draw(batch)
    losses = model(batch, plans)
    assert model.denominators(plans) == {name: term.count for name, term in losses.terms.items()}
    assert model.denominators(plans)["rtd"] == int(batch["ids.length"].sum())


def test_micro_batches_give_the_gradient_of_the_whole_batch(tiny):
    whole, parts, batch = electra(tiny).double(), electra(tiny).double(), tiny.batch(6)
    whole(batch).total().backward()
    plans = parts.draw(batch)
    counts = parts.denominators(plans)
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        micro = plans.rows(start, stop)
        parts(micro.batch, micro).total(counts).backward()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_the_table_is_still_shared_after_a_reload(tiny):
    model = electra(tiny)
    model.load_state_dict(electra(tiny).state_dict())
    table = model.network("encoder").table.weight
    assert table is model.network("generator").table.weight is model.objectives["mlm"].head.table.weight


def test_a_batch_without_a_chosen_place_loses_exactly_nothing_and_touches_its_parameters(tiny):
    model, batch = electra(tiny), tiny.batch(2)
    action = torch.zeros(2, 16, dtype=torch.uint8)
    nothing = replace(MaskPlan.nothing(tiny.Words().layout(batch)), action=action)
    losses = model(batch, {"chosen": nothing})
    assert losses["mlm"].item() == 0.0
    losses["mlm"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in private_to_the_generator(model))


@pytest.mark.parametrize("step", [0, 7])
def test_the_same_samples_get_the_same_draws_in_any_company(tiny, step):
    model, batch = electra(tiny).double(), tiny.batch(6)
    whole = model.scene(batch, step=step).view("discriminator").only().ids
    part = model.scene(batch.rows(2, 5), step=step).view("discriminator").only().ids
    assert torch.equal(whole[2:5], part)
