"""MCL (Chen et al. 2023) said with the types, in miniature.

Three courses corrupt one text: replaced, swapped and inserted words. A generator fills the chosen slots of
each, a discriminator judges every token. Then the generator meets its own mistakes again: a second pass hides
the slots where its first answer was wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from mmask.mask.random import RandomMasker
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.types import Encoded, MaskPlan, Prediction, Scored, Target, TargetSource, Term

SHARE = RandomMasker(ratio=0.15, rounding="round", at_least=2)


class Replace:
    def plan(self, layout, keys):
        return SHARE.plan(layout, keys)


class Swap:
    """The chosen places read one another, around a random cycle."""

    def plan(self, layout, keys):
        plan = SHARE.plan(layout, keys)
        source = torch.arange(layout.length).expand(layout.batch, -1).clone()
        order = torch.from_numpy(keys.order("cycle", layout.length, plan.hidden.numpy()))
        for row, count in enumerate(plan.hidden.sum(1).tolist()):
            cycle = order[row, :count]
            source[row, cycle] = cycle.roll(1)
        return replace(plan, source=source)


class Insert:
    """New slots after 15 % of the places, never after [SEP]; rows are cut at the longest length allowed."""

    def __init__(self, longest):
        self.longest = longest

    def plan(self, layout, keys):
        after = SHARE.plan(layout, keys).hidden
        rows = []
        for row in range(layout.batch):
            old = range(int(layout.lengths()[row]))
            rows.append([m for n in old for m in ((n, -1) if after[row, n] else (n,))][: self.longest])
        width = max(map(len, rows))
        edit = torch.tensor([row + [-2] * (width - len(row)) for row in rows])
        return replace(MaskPlan.nothing(layout), edit=edit)


class Mark:
    """Chosen places become [MASK]; with ``moved``, they are swapped or inserted instead."""

    site = "embedding"

    def __init__(self, tiny):
        self.mask_id, self.pad_id = tiny.MASK, tiny.PAD

    def __call__(self, view, stream, plan, scene):
        tokens = view.tokens[stream]
        if plan.source is not None:
            return tokens.with_data(tokens.ids.gather(1, plan.source))
        if plan.edit is not None:
            ids = tokens.ids.gather(1, plan.edit.clamp_min(0))
            ids = ids.masked_fill(plan.edit == -1, self.mask_id).masked_fill(plan.edit == -2, self.pad_id)
            return replace(tokens, layout=plan.output.layout, ids=ids)
        return tokens.with_data(tokens.ids.masked_fill(plan.hidden, self.mask_id))


class Answered(nn.Module):
    """The chosen or inserted slots hold the generator's answers to another view."""

    site = "embedding"

    def __init__(self, head, asked):
        super().__init__()
        self.head, self.asked = head, asked

    def __call__(self, view, stream, plan, scene):
        scored, tokens = Scored.hidden(plan), view.tokens[stream]
        logits = self.head(scene.encode("generator", self.asked), scored).value.detach().double()
        u = torch.from_numpy(scene.keys.of_view(view.name).uniform("answer", plan.output.layout.length))
        drawn = torch.searchsorted(logits.softmax(-1).cumsum(-1), scored.take(u)[:, None]).squeeze(1)
        ids = tokens.ids.clone()
        ids.view(-1)[scored.index] = drawn.clamp_max(logits.shape[1] - 1)
        return tokens.with_data(ids)


class Wrong:
    """The second pass: what the generator got wrong is hidden again, amid its own other answers."""

    site = "embedding"

    def __init__(self, mask_id):
        self.mask_id = mask_id

    def __call__(self, view, stream, plan, scene):
        answered = scene.view("replaced").only()
        again = MaskPlan.of_hidden(plan.layout, answered.ids != scene.view("clean").only().ids)
        tokens = answered.with_data(answered.ids.masked_fill(again.hidden, self.mask_id))
        return replace(view, tokens={stream: tokens}, plans={stream: again})


class Again(MaskedObjective):
    """Scores the plan made in the forward pass. It is averaged over the slots of the first pass, which are
    known before; a generator without mistakes has nothing to correct."""

    def predict(self, scene):
        return self.head(scene.encode(self.network, self.view), Scored.hidden(scene.view(self.view).plan()))

    def forward(self, scene):
        losses = super().forward(scene)
        term = replace(losses.terms[self.name], count=self.denominators(scene)[self.name])
        return replace(losses, terms={self.name: term})


class Bert(nn.Module):
    def __init__(self, tiny, table, width):
        super().__init__()
        self.table, self.up, self.block = table, nn.Linear(table.embedding_dim, width), tiny.Block(width)

    def forward(self, view, *, taps=()):
        tokens = view.only()
        return Encoded(tokens.layout, self.block(self.up(self.table(tokens.ids)), tokens.layout.valid)[0])


class Linear(nn.Module):
    def __init__(self, width, size):
        super().__init__()
        self.linear, self.size = nn.Linear(width, size), size

    def forward(self, encoded, scored):
        value = self.linear(encoded.at(scored))
        return Prediction(value if self.size > 1 else value.squeeze(-1), scored)


def original_id(scene, scored):
    """Replaced or swapped, what belongs at a place is its clean id."""
    return Target(scored.take(scene.view("clean").only().ids), scored)


def differs(view):
    def target(scene, scored):
        changed = scene.view(view).only().ids != scene.view("clean").only().ids
        return Target(scored.take(changed.float()), scored, TargetSource.CORRUPTED)

    return target


def inserted(scene, scored):
    return Target(scored.take((scene.plan("insert").edit == -1).float()), scored, TargetSource.EDIT_MAP)


def mcl(tiny, head=None):
    torch.manual_seed(1)
    table = nn.Embedding(tiny.VOCABULARY, 8)
    head, mark = head or Linear(8, tiny.VOCABULARY), Mark(tiny)

    def generator(name, view, plan, kind=MaskedObjective):
        return kind(name=name, network="generator", view=view, plan=plan, head=head, target=original_id,
                    loss=tiny.cross_entropy)

    def judge(name, view, plan, target):
        return MaskedObjective(name=name, view=view, plan=plan, scored="valid", head=judged, target=target,
                               loss=tiny.binary, weight=50.0)

    judged = Linear(16, 1)
    return MaskedModel(
        tokenizers={"text": tiny.Words()},
        maskers={
            "replace": PlanMaker(Replace(), ("text",)), "swap": PlanMaker(Swap(), ("text",)),
            "insert": PlanMaker(Insert(longest=18), ("text",)),
        },
        views={
            "masked": ViewMaker("clean", "replace", mark),
            "replaced": ViewMaker("clean", "replace", Answered(head, "masked")),
            "shuffled": ViewMaker("clean", "swap", mark),
            "swapped": ViewMaker("clean", "swap", Answered(head, "shuffled")),
            "gaps": ViewMaker("clean", "insert", mark),
            "inserted": ViewMaker("gaps", "insert", Answered(head, "gaps")),
            "again": ViewMaker("clean", "replace", Wrong(tiny.MASK)),
        },
        networks={"generator": Bert(tiny, table, 8), "encoder": Bert(tiny, table, 16)},
        objectives={
            "mlm": generator("mlm", "masked", "replace"), "slm": generator("slm", "shuffled", "swap"),
            "rtd": judge("rtd", "replaced", "replace", differs("replaced")),
            "std": judge("std", "swapped", "swap", differs("swapped")),
            "itd": judge("itd", "inserted", "insert", inserted),
            "re-mlm": generator("re-mlm", "again", "replace", Again),
        },
    )


def test_undoing_each_edit_restores_the_text(tiny):
    model, batch = mcl(tiny), tiny.batch(8)
    scene = model.scene(batch)
    clean, swap, edit = batch["ids"], scene.plan("swap"), scene.plan("insert").edit
    shuffled, gaps = scene.view("shuffled").only().ids, scene.view("gaps").only().ids
    assert torch.equal(torch.empty_like(clean).scatter_(1, swap.source, shuffled), clean)
    for row in range(8):
        kept = edit[row] >= 0
        assert torch.equal(gaps[row][kept], clean[row][edit[row][kept]])


def test_swapping_moves_the_chosen_words_and_nothing_else(tiny):
    model, batch = mcl(tiny), tiny.batch(8)
    scene = model.scene(batch)
    hidden, shuffled = scene.plan("swap").hidden, scene.view("shuffled").only().ids
    assert torch.equal(shuffled[~hidden], batch["ids"][~hidden])
    for row in range(8):
        assert sorted(shuffled[row][hidden[row]].tolist()) == sorted(batch["ids"][row][hidden[row]].tolist())
    assert not (hidden & ~scene.layout().maskable()).any()


def test_insertion_changes_the_layout_and_labels_exactly_the_new_slots(tiny):
    model, batch = mcl(tiny), tiny.batch(8)
    scene = model.scene(batch)
    plan, seen = scene.plan("insert"), scene.view("inserted").only()
    assert seen.layout.length == plan.edit.shape[1] <= 18
    assert seen.layout is plan.output.layout
    scored = model.objectives["itd"].scored(scene)
    label = inserted(scene, scored).value
    assert len(label) == seen.layout.valid.sum()
    assert label.sum() == (plan.edit == -1).sum() > 0
    assert (seen.ids[seen.layout.special] < tiny.MASK).all()  # [CLS] and [SEP] are still themselves
    assert not (plan.output.hidden & ~seen.layout.maskable()).any()


def test_a_swap_that_lands_on_an_equal_word_is_an_original(tiny):
    model, batch = mcl(tiny), tiny.batch(4)
    same = batch.with_field("ids", torch.where(batch["ids"] >= tiny.FIRST, tiny.FIRST, batch["ids"]))
    scene = model.scene(same)
    assert torch.equal(scene.view("shuffled").only().ids, same["ids"])


def test_inserted_slots_teach_the_generator_nothing(tiny):
    model = mcl(tiny)
    model(tiny.batch(8))["itd"].backward()
    shared = model.network("generator").table.weight
    own = [p for p in model.network("generator").parameters() if p is not shared]
    assert all(p.grad is None for p in [*own, *model.objectives["mlm"].head.parameters()])


def test_the_second_pass_hides_what_the_first_got_wrong(tiny):
    model, batch = mcl(tiny), tiny.batch(8)
    scene = model.scene(batch)
    again, first = scene.view("again").plan().hidden, scene.plan("replace").hidden
    wrong = scene.view("replaced").only().ids != batch["ids"]
    assert torch.equal(again, wrong)
    assert again.any()
    assert not (again & ~first).any()
    assert (scene.view("again").only().ids[again] == tiny.MASK).all()


def test_a_generator_without_mistakes_has_exactly_no_correction(tiny):
    class Knows(Linear):
        """Always right about a text that repeats one word."""

        def forward(self, encoded, scored):
            right = torch.zeros(self.size)
            right[tiny.FIRST] = 1e4
            return Prediction(super().forward(encoded, scored).value * 0 + right, scored)

    model, batch = mcl(tiny, Knows(8, tiny.VOCABULARY)), tiny.batch(4)
    batch = batch.with_field("ids", torch.where(batch["ids"] >= tiny.FIRST, tiny.FIRST, batch["ids"]))
    losses = model(batch)
    assert losses["re-mlm"].item() == 0.0
    losses["re-mlm"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.objectives["re-mlm"].head.parameters())


def test_every_denominator_is_known_before_the_forward_pass_even_of_the_second_one(tiny):
    model, batch = mcl(tiny), tiny.batch(8)
    plans = model.draw(batch)
    losses = model(batch, plans)
    assert model.denominators(plans) == {name: term.count for name, term in losses.terms.items()}
    assert isinstance(losses.terms["re-mlm"], Term)


def test_micro_batches_give_the_gradient_of_the_whole_batch(tiny):
    whole, parts, batch = mcl(tiny).double(), mcl(tiny).double(), tiny.batch(8)
    whole(batch).total().backward()
    plans = parts.draw(batch)
    for start, stop in ((0, 3), (3, 8)):
        micro = plans.rows(start, stop)
        parts(micro.batch, micro).total(parts.denominators(plans)).backward()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-11)


def test_the_plans_of_the_courses_are_independent_draws(tiny):
    plans = mcl(tiny).draw(tiny.batch(16, length=64))
    hidden = [plans.plan(name).hidden.numpy() for name in ("replace", "swap")]
    both = np.logical_and(*hidden).sum() / hidden[0].sum()
    assert abs(both - 0.15) < 0.1
