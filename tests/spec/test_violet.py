"""VIOLET (Fu et al. 2021) said with the types, in miniature.

Pixels are blackened before the tokenizer sees them; a coin chooses, for each sample, blocks or an attended
plan that spends one budget over both streams, drawn from the attention of a scoring pass; matching takes its
negatives from the captions of the same group of four.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.validate import Validation
from mmask.types import (
    Encoded,
    Layout,
    Losses,
    MaskPlan,
    Prediction,
    Target,
    TargetSource,
    Term,
    Tokens,
    View,
)

CELL, SIDE, WIDTH, CODES = 4, 3, 16, 12


class Clip(nn.Module):
    """Cells of CELL x CELL pixels of every frame; normalised inside."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(3, WIDTH, CELL, CELL)

    def layout(self, batch):
        frames = batch["frames"].shape[1]
        return Layout(len(batch), frames * SIDE * SIDE, (frames, SIDE, SIDE), unit=(1, CELL, CELL))

    def forward(self, batch):
        frames = batch["frames"]
        cells = self.cut((frames.flatten(0, 1) - 0.5) / 0.25)
        values = cells.flatten(2).transpose(1, 2).reshape(len(batch), -1, WIDTH)
        return Tokens(self.layout(batch), values=values)


class Cuboids:
    """The union of T cuboids of 1..T-1 frames and 1..2 cells a side."""

    def plan(self, layout, keys):
        frames = layout.grid[0]
        hidden = torch.zeros(layout.batch, *layout.grid, dtype=torch.bool)
        u = keys.uniform("cuboid", 6 * frames).reshape(-1, frames, 6)
        for row, number in np.ndindex(layout.batch, frames):
            box = []
            for axis, most in enumerate((max(1, frames - 1), 2, 2)):
                size = 1 + int(u[row, number, axis] * most)
                low = int(u[row, number, axis + 3] * (layout.grid[axis] - size + 1))
                box.append(slice(low, low + size))
            hidden[row][tuple(box)] = True
        return MaskPlan.of_hidden(layout, hidden.flatten(1))


class Words15:
    def plan(self, layout, keys):
        u = torch.from_numpy(keys.uniform("word", layout.length))
        return MaskPlan.of_hidden(layout, (u < 0.15) & layout.maskable())


class BlocksOrAttended:
    """A joint plan of clip and words. Reads the attention that all places pay to each one."""

    def scores(self, scene):
        attention = scene.encode("encoder", "clean", taps=("attention",)).taps["attention"]
        blocks = torch.cat([scene.plan("cuboids").hidden, scene.plan("words").hidden], 1)
        return {"attention": attention.sum(1).cpu(), "blocks": blocks}

    def plan(self, layout, keys, scores):
        weight = scores["attention"].double().masked_fill(~layout.maskable(), 0.0)
        u = torch.from_numpy(1.0 - keys.uniform("attended", layout.length))
        race = torch.where(weight > 0, u.log() / weight, -torch.inf)  # Efraimidis & Spirakis 2006
        budget = (layout.lengths() * 0.15).long()
        rank = race.argsort(1, descending=True).argsort(1)
        attended = (rank < budget[:, None]) & (weight > 0)
        coin = torch.from_numpy(keys.uniform("strategy", 1) < 0.5)
        return MaskPlan.of_hidden(layout, torch.where(coin, scores["blocks"], attended))


class Black:
    """Hidden cells are black before anything is computed from them."""

    site = "signal"

    def __call__(self, view, stream, plan, scene):
        hidden = plan.on_grid(plan.layout.unit)
        frames = scene.batch["frames"].masked_fill(hidden[:, :, None], 0.0)
        return scene.retokenize(stream, scene.batch.with_field("frames", frames))


class MaskIds:
    site = "embedding"

    def __init__(self, mask_id):
        self.mask_id = mask_id

    def __call__(self, view, stream, plan, scene):
        tokens = view.tokens[stream]
        return tokens.with_data(tokens.ids.masked_fill(plan.hidden, self.mask_id))


class Cross(nn.Module):
    def __init__(self, tiny):
        super().__init__()
        self.words, self.block, self.passes = nn.Embedding(tiny.VOCABULARY, WIDTH), tiny.Block(WIDTH), []

    def forward(self, view, *, taps=()):
        clip, text = view.tokens["video"], view.tokens["text"]
        seen = torch.ones(clip.values.shape[:2], dtype=torch.bool)
        x = torch.cat([clip.values, self.words(text.ids)], 1)
        states, attention = self.block(x, torch.cat([seen, text.layout.valid], 1))
        self.passes.append((view.name, torch.is_grad_enabled(), self.training))
        video, words = states.split([clip.layout.length, text.layout.length], 1)
        streams = {"video": Encoded(clip.layout, video), "text": Encoded(text.layout, words)}
        return Encoded(
            clip.layout, pooled=words[:, 0], streams=streams, taps={"attention": attention} if taps else {}
        )


class Linear(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(WIDTH, size)

    def forward(self, encoded, scored):
        return Prediction(self.linear(encoded.at(scored)), scored)


class Matching(nn.Module):
    """One caption of the group belongs to the clip. The same hidden cells and words as in the other tasks."""

    coupling, group = "group", 4

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(WIDTH, 1)

    def denominators(self, plans):
        return {"vtm": float(len(plans.batch))}

    def forward(self, scene):
        view, here = scene.view("masked"), torch.arange(len(scene.batch))
        size = min(self.group, len(here))
        pooled = [scene.encode("encoder", "masked").pooled]
        for turn in range(1, size):
            other = here // size * size + (here + turn) % size
            tokens = {**view.tokens, "text": view.tokens["text"].samples(other)}
            pooled.append(scene.network("encoder")(View("negatives", tokens)).pooled)
        score = torch.stack([self.score(each).squeeze(-1) for each in pooled], 1) / 0.05
        target = Target(torch.zeros(len(here), dtype=torch.long), None, TargetSource.PAIRING)
        return Losses({"vtm": Term(F.cross_entropy(score, target.value, reduction="sum"), float(len(here)))})


def field(name):
    return lambda scene, scored: Target(scored.take(scene.batch[name]), scored)


def violet(tiny):
    torch.manual_seed(1)
    common = {"plan": "mixed", "view": "masked", "loss": tiny.cross_entropy}
    return MaskedModel(
        tokenizers={"video": Clip(), "text": tiny.Words()},
        maskers={
            "mixed": PlanMaker(BlocksOrAttended(), ("video", "text")),
            "cuboids": PlanMaker(Cuboids(), ("video",)), "words": PlanMaker(Words15(), ("text",)),
        },
        views={
            "black": ViewMaker("clean", "mixed", Black(), ("video",)),
            "masked": ViewMaker("black", "mixed", MaskIds(tiny.MASK), ("text",)),
        },
        networks={"encoder": Cross(tiny)},
        objectives={
            "mtm": MaskedObjective(
                name="mtm", stream="text", head=Linear(tiny.VOCABULARY), target=field("ids"), **common
            ),
            "mvm": MaskedObjective(
                name="mvm", stream="video", head=Linear(CODES), target=field("codes"), **common
            ),
            "vtm": Matching(),
        },
    )


def clips(tiny, size=8, frames=4):
    return tiny.batch(
        size, length=12,
        frames=lambda make: torch.rand(size, frames, 3, SIDE * CELL, SIDE * CELL, generator=make),
        codes=lambda make: torch.randint(CODES, (size, frames * SIDE * SIDE), generator=make),
    )


def test_black_cells_are_exactly_those_whose_code_is_scored(tiny):
    model, batch = violet(tiny), clips(tiny)
    seen = []
    model.tokenizers["video"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]["frames"]))
    scene = model.scene(batch)
    scene.view("masked")
    changed = (seen[-1] != batch["frames"]).any(2).unfold(2, CELL, CELL).unfold(3, CELL, CELL).any(-1).any(-1)
    scored = model.objectives["mvm"].scored(scene)
    assert torch.equal(changed.flatten().nonzero().flatten(), scored.index)
    assert not seen[-1].permute(0, 1, 3, 4, 2)[scene.plan("mixed", "video").on_grid((1, CELL, CELL))].any()


def test_what_lies_under_black_cells_changes_nothing_downstream(tiny):
    model, batch = violet(tiny).eval(), clips(tiny)
    plans = model.draw(batch)
    hidden = plans.plan("mixed", "video").on_grid((1, CELL, CELL))[:, :, None]
    other = batch.with_field("frames", torch.where(hidden, torch.rand_like(batch["frames"]), batch["frames"]))
    states = [
        model.scene(b, replace(plans, batch=b)).encode("encoder", "masked").stream("text").places
        for b in (batch, other)
    ]
    assert torch.equal(*states)


def test_an_attended_plan_spends_one_budget_over_both_streams(tiny):
    model, batch = violet(tiny), clips(tiny, 32)
    plans = model.draw(batch)
    keys = batch.keys(0).of_view("mixed")
    blocks = torch.from_numpy(keys.uniform("strategy", 1)[:, 0] < 0.5)
    video, text = plans.plan("mixed", "video").hidden, plans.plan("mixed", "text").hidden
    budget = ((36 + batch["ids.length"]) * 0.15).long()
    assert 0 < blocks.sum() < 32
    assert torch.equal((video.sum(1) + text.sum(1))[~blocks], budget[~blocks])
    assert torch.equal(video[blocks], plans.plan("cuboids").hidden[blocks])
    assert torch.equal(text[blocks], plans.plan("words").hidden[blocks])
    assert not (text & ~plans.layout("text").maskable()).any()


def test_attention_steers_the_attended_plan_and_places_without_any_are_never_taken(tiny):
    layout, keys = Layout(400, 20), replace(
        clips(tiny, 1).keys(0), ids=np.arange(400, dtype=np.uint64), visits=np.zeros(400, np.int64)
    )
    weight = torch.ones(400, 20)
    weight[:, :10], weight[:, 10:15] = 0.0, 3.0
    none = torch.zeros(400, 20, dtype=torch.bool)
    hidden = BlocksOrAttended().plan(layout, keys, {"attention": weight, "blocks": none}).hidden
    share = hidden.float().mean(0)
    assert not share[:10].any()
    assert share[10:15].mean() > 2 * share[15:].mean()
    weight[:, 1:] = 0.0
    weight[:, 0] = 1.0  # fewer places with attention than the budget of three
    hidden = BlocksOrAttended().plan(layout, keys, {"attention": weight, "blocks": none}).hidden
    assert set(hidden.sum(1).tolist()) == {0, 1}


def test_the_scoring_pass_has_no_gradient_no_dropout_and_leaves_the_mode_alone(tiny):
    model, batch = violet(tiny).train(), clips(tiny)
    model.draw(batch)
    network = model.network("encoder")
    assert network.passes == [("clean", False, False)]
    assert model.training
    assert network.training
    network.passes.clear()
    model(batch, model.draw(batch)).total().backward()
    assert [name for name, *_ in network.passes] == ["clean", "masked", "negatives", "negatives", "negatives"]
    assert [grad for _, grad, _ in network.passes] == [False, True, True, True, True]


def test_denominators_are_known_before_the_forward_pass(tiny):
    model, batch = violet(tiny), clips(tiny)
    plans = model.draw(batch)
    assert model.denominators(plans) == {n: t.count for n, t in model(batch, plans).terms.items()}


def test_micro_batches_of_whole_groups_give_the_gradient_of_the_whole_batch(tiny):
    batch = clips(tiny)
    batch = batch.with_field("frames", batch["frames"].double())
    whole, parts = violet(tiny).double(), violet(tiny).double()
    whole(batch).total().backward()
    plans = parts.draw(batch)
    for start in (0, 4):
        micro = plans.rows(start, start + 4)
        parts(micro.batch, micro).total(parts.denominators(plans)).backward()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("size", "frames"), [(1, 4), (4, 1)])
def test_one_sample_and_one_frame_take_the_same_road(tiny, size, frames):
    losses = violet(tiny)(clips(tiny, size, frames))
    assert losses.total().isfinite()
    if size == 1:
        assert losses["vtm"].item() == 0.0  # the one caption there is


def test_the_trivial_predictor_has_the_plans_of_the_weights_of_now(tiny):
    model, batch = violet(tiny), clips(tiny, 32)

    def told(name):
        return lambda scene: Losses({name: Term(scene.plan("mixed", "text").hidden.float().sum(), 1.0)})

    def fresh():
        return Validation(lambda: [batch], Precision.of("fp32", torch.device("cpu")), Ranks())

    for name, objective in model.objectives.items():
        objective.trivial = told(name)
    check = fresh()
    first = check(model)["val_trivial"]
    with torch.no_grad():
        model.networks["encoder"].words.weight.mul_(30.0)  # attention goes elsewhere
    assert check(model)["val_trivial"] == fresh()(model)["val_trivial"] != first
