"""UNITER (Chen et al. 2020) said with the types, in miniature.

One stream of words and regions; every step learns one task, and each task hides one modality only. Matching
swaps the image within a pair of neighbours.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmask.errors import RecipeError
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.train.program import Program, Task
from mmask.types import Action, Encoded, Layout, MaskPlan, Prediction, Target, TargetSource, Term, Tokens

FEATURES, CLASSES, WIDTH, REGIONS = 10, 5, 16, 6


class Regions:
    """Detector features with their boxes: one place a region."""

    def layout(self, batch):
        valid = torch.arange(REGIONS)[None] < batch["regions.length"][:, None]
        return Layout(len(batch), REGIONS, valid=valid, channels=FEATURES)

    def __call__(self, batch):
        return Tokens(self.layout(batch), values=torch.cat([batch["regions"], batch["boxes"]], -1))


class Independent:
    """Each place by its own coin of 15 %; where none falls, one is forced."""

    def __init__(self, force):
        self.force = force

    def plan(self, layout, keys):
        free = layout.maskable()
        u = torch.from_numpy(keys.uniform("coin", layout.length)).masked_fill(~free, 2.0)
        hidden = u < 0.15
        forced = free.int().argmax(1) if self.force == "first" else u.argmin(1)
        none = ~hidden.any(1)
        hidden[none, forced[none]] = True
        kind = torch.where(u < 0.12, Action.MASK, torch.where(u < 0.135, Action.RANDOM, Action.KEEP))
        kind = torch.where(u < 0.15, kind, Action.MASK)  # a forced place is masked
        return MaskPlan.of_hidden(layout, hidden, action=(kind * hidden).to(torch.uint8))


class WordsHidden:
    """80 % [MASK], 10 % a random word, 10 % kept."""

    site = "embedding"

    def __init__(self, tiny):
        self.tiny = tiny

    def __call__(self, view, stream, plan, scene):
        tokens = view.tokens[stream]
        other = scene.keys.integers("word", plan.layout.length, self.tiny.FIRST, self.tiny.VOCABULARY)
        ids = tokens.ids.masked_fill(plan.action == Action.MASK, self.tiny.MASK)
        return tokens.with_data(torch.where(plan.action == Action.RANDOM, torch.from_numpy(other), ids))


class RegionsHidden:
    """The feature is zeroed and a learned vector marked for it; the box stays."""

    site = "embedding"

    def __call__(self, view, stream, plan, scene):
        values = view.tokens[stream].values.clone()
        values[..., :FEATURES][plan.hidden] = 0.0
        return view.tokens[stream].with_data(values, replaced=plan.hidden)


def mismatched(keys):
    """(B,) which pairs get their neighbour's image."""
    return torch.from_numpy(keys.uniform("match", 1)[:, 0] < 0.5)


class Swapped:
    """The image of the other sample of the group of two."""

    site = "signal"

    def __call__(self, view, stream, plan, scene):
        here = torch.arange(plan.layout.batch)
        partner = (here ^ 1).clamp_max(len(here) - 1)
        return view.tokens[stream].samples(torch.where(mismatched(scene.keys), partner, here))


class Single(nn.Module):
    def __init__(self, tiny):
        super().__init__()
        self.words = nn.Embedding(tiny.VOCABULARY, WIDTH)
        self.feature, self.box = nn.Linear(FEATURES, WIDTH), nn.Linear(4, WIDTH)
        self.hidden_region = nn.Parameter(torch.randn(FEATURES))
        self.block = tiny.Block(WIDTH)

    def forward(self, view, *, taps=()):
        text, image = view.tokens["text"], view.tokens["image"]
        feature, box = image.values.split([FEATURES, 4], -1)
        if image.replaced is not None:
            feature = feature + image.replaced[..., None] * self.hidden_region
        x = torch.cat([self.words(text.ids), self.feature(feature) + self.box(box)], 1)
        states, _ = self.block(x, torch.cat([text.layout.valid, image.layout.valid], 1))
        parts = states.split([text.layout.length, image.layout.length], 1)
        streams = {
            "text": Encoded(text.layout, parts[0]), "image": Encoded(image.layout, parts[1]),
        }
        return Encoded(text.layout, pooled=states[:, 0].tanh(), streams=streams)


class At(nn.Module):
    """A linear map at scored places; its weight may be the transpose of another layer's (region features)."""

    def __init__(self, size, tied=None):
        super().__init__()
        self.linear = nn.Linear(WIDTH, size) if tied is None else nn.Linear(WIDTH, WIDTH)
        self.tied = tied

    def forward(self, encoded, scored):
        x = encoded.pooled if scored.unit == "pooled" else encoded.at(scored)
        x = self.linear(x)
        return Prediction(x if self.tied is None else x @ self.tied.weight, scored)


class Matching(MaskedObjective):
    coupling, group = "group", 2


def field(name):
    return lambda scene, scored: Target(scored.take(scene.batch[name]), scored)


def match(scene, scored):
    return Target(mismatched(scene.keys).long(), scored, TargetSource.PAIRING)


def squared(prediction, target):
    return Term((prediction.value - target.value).square().mean(-1).sum(), prediction.scored.count())


def divergence(prediction, target):
    """KL(soft label || prediction), summed over classes."""
    total = F.kl_div(prediction.value.log_softmax(-1), target.value, reduction="sum")
    return Term(total, prediction.scored.count())


TASKS = {"itm": 2.0, "mlm": 2.0, "mrfr": 1.0, "mrc": 1.0}


def uniter(tiny):
    torch.manual_seed(1)
    network = Single(tiny)
    region = {"plan": "regions", "view": "mrm", "stream": "image"}
    return MaskedModel(
        tokenizers={"text": tiny.Words(), "image": Regions()},
        maskers={
            "words": PlanMaker(Independent("first"), ("text",)),
            "regions": PlanMaker(Independent("any"), ("image",)),
        },
        views={
            "mlm": ViewMaker("clean", "words", WordsHidden(tiny)),
            "mrm": ViewMaker("clean", "regions", RegionsHidden()),
            "paired": ViewMaker("clean", None, Swapped(), ("image",)),
        },
        networks={"encoder": network},
        objectives={
            "mlm": MaskedObjective(
                name="mlm", plan="words", view="mlm", stream="text", head=At(tiny.VOCABULARY),
                target=field("ids"), loss=tiny.cross_entropy,
            ),
            "mrfr": MaskedObjective(
                name="mrfr", head=At(FEATURES, tied=network.feature), target=field("regions"), loss=squared,
                **region,
            ),
            "mrc": MaskedObjective(
                name="mrc", head=At(CLASSES), target=field("classes"), loss=divergence, **region
            ),
            "itm": Matching(
                name="itm", plan=None, view="paired", stream=None, scored="pooled", head=At(2), target=match,
                loss=tiny.cross_entropy,
            ),
        },
        program=Program("one", {name: Task((name,), ratio) for name, ratio in TASKS.items()}),
    )


def pairs(tiny, size=8):
    return tiny.batch(
        size,
        regions=lambda make: torch.randn(size, REGIONS, FEATURES, generator=make),
        boxes=lambda make: torch.rand(size, REGIONS, 4, generator=make),
        classes=lambda make: torch.randn(size, REGIONS, CLASSES, generator=make).softmax(-1),
    ).with_field("regions.length", torch.randint(2, REGIONS + 1, (size,)))


def test_every_step_learns_one_task_in_the_papers_proportion_on_every_rank_and_micro_batch(tiny):
    model, batch = uniter(tiny), pairs(tiny)
    drawn = [model.active(step) for step in range(3000)]
    assert all(len(names) == 1 for names in drawn)
    for name, ratio in TASKS.items():
        assert drawn.count((name,)) / 3000 == pytest.approx(ratio / 6, abs=0.03)
    for step in range(6):
        plans = model.draw(batch, step=step)
        terms = {tuple(model(part.batch, part)) for part in (plans, plans.rows(0, 4), plans.rows(4, 8))}
        assert terms == {drawn[step]}
        assert tuple(model.denominators(plans)) == drawn[step]


def test_a_step_leaves_the_heads_of_other_tasks_alone(tiny):
    model, batch = uniter(tiny), pairs(tiny)
    for step in range(12):
        model.zero_grad()
        model(batch, step=step).total().backward()
        touched = {name for name in TASKS if model.objectives[name].head.linear.weight.grad is not None}
        assert touched == set(model.active(step))


def test_evaluation_computes_every_task(tiny):
    model = uniter(tiny).eval()
    assert set(model(pairs(tiny))) == set(TASKS)


def test_each_task_hides_one_modality_and_leaves_the_other_intact(tiny):
    model, batch = uniter(tiny), pairs(tiny)
    scene = model.scene(batch)
    clean, words, regions = (scene.view(name).tokens for name in ("clean", "mlm", "mrm"))
    assert torch.equal(words["image"].values, clean["image"].values)
    assert words["image"].replaced is None
    assert torch.equal(regions["text"].ids, clean["text"].ids)
    assert not torch.equal(words["text"].ids, clean["text"].ids)
    hidden = scene.plan("regions").hidden
    assert torch.equal(regions["image"].values[~hidden], clean["image"].values[~hidden])
    assert torch.equal(regions["image"].values[..., FEATURES:], clean["image"].values[..., FEATURES:])
    assert not regions["image"].values[..., :FEATURES][hidden].any()


def test_every_sample_hides_at_least_one_unit_and_never_a_special_one_or_padding(tiny):
    model, batch = uniter(tiny), pairs(tiny, 64)
    plans = model.draw(batch)
    for name, layout in (("words", plans.layout("text")), ("regions", plans.layout("image"))):
        hidden = plans.plan(name).hidden
        assert hidden.any(1).all()
        assert not (hidden & ~layout.maskable()).any()


def test_a_hidden_feature_reaches_nothing_the_network_sees(tiny):
    model, batch = uniter(tiny).eval(), pairs(tiny)
    plans = model.draw(batch)
    hidden = plans.plan("regions").hidden
    changed = batch.with_field("regions", batch["regions"] + 9.0 * hidden[..., None])
    states = [
        model.scene(b, replace(plans, batch=b)).encode("encoder", "mrm").stream("image").places
        for b in (batch, changed)
    ]
    assert torch.equal(*states)


def test_matching_swaps_images_inside_groups_of_two_and_says_where(tiny):
    model, batch = uniter(tiny), pairs(tiny)
    scene = model.scene(batch)
    clean, paired = scene.view("clean").tokens["image"].values, scene.view("paired").tokens["image"].values
    label = match(scene, None).value
    assert 0 < label.sum() < len(label)
    for row, swapped in enumerate(label.tolist()):
        assert torch.equal(paired[row], clean[row ^ 1 if swapped else row])
    assert torch.equal(scene.view("paired").tokens["text"].ids, batch["ids"])


def test_groups_are_never_parted(tiny):
    model = uniter(tiny)
    assert model.group == 2
    model.check_split(8, ranks=2, accumulate=2)
    with pytest.raises(RecipeError, match="whole groups of 2"):
        model.check_split(8, ranks=8)


def test_micro_batches_of_whole_groups_give_the_gradient_of_the_whole_batch(tiny):
    batch = pairs(tiny)
    for name in ("regions", "boxes", "classes"):
        batch = batch.with_field(name, batch[name].double())
    for step in range(8):
        whole, parts = uniter(tiny).double(), uniter(tiny).double()
        whole(batch, step=step).total().backward()
        plans = parts.draw(batch, step=step)
        for start in (0, 2, 4, 6):
            micro = plans.rows(start, start + 2)
            parts(micro.batch, micro).total(parts.denominators(plans)).backward()
        for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_the_region_head_is_tied_to_the_region_projection(tiny):
    model = uniter(tiny)
    assert model.objectives["mrfr"].head.tied.weight is model.network("encoder").feature.weight
