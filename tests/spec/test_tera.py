"""TERA (Liu et al. 2021) said with the types, in miniature.

What is altered and what is scored are two things: spans of frames are zeroed, overwritten or left alone (one
dice for each utterance) and scored in all three cases; a band of bins is zeroed in every frame; noise scores
nothing. Scored are cells, not places.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mmask.mask.span import SpanMasker
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.types import Action, Batch, Encoded, Layout, Prediction, Scored, Target, Term, Tokens

BINS = 12


class Frames:
    """Log-mel frames, one place each, BINS cells a place."""

    def layout(self, batch):
        mel, length = batch["mel"], batch["mel.length"]
        valid = torch.arange(mel.shape[1])[None] < length[:, None]
        return Layout(len(batch), mel.shape[1], valid=valid, channels=mel.shape[2])

    def __call__(self, batch):
        return Tokens(self.layout(batch), values=batch["mel"])


class Alteration:
    """Time, frequency and magnitude, drawn for each utterance."""

    def __init__(self, widest=4, noisy=0.15):
        self.widest, self.noisy = widest, noisy

    def plan(self, layout, keys):
        time = SpanMasker(ratio=0.15, length=7).plan(layout, keys)
        dice = torch.from_numpy(keys.uniform("dice", 1))
        action = torch.where(dice < 0.8, Action.ZERO, torch.where(dice < 0.9, Action.COPY, Action.KEEP))
        shift = torch.from_numpy(keys.integers("shift", 1, 1, 1 << 20))
        place, length = torch.arange(layout.length)[None], layout.lengths()[:, None]
        width = torch.from_numpy(keys.integers("width", 1, 0, self.widest + 1))
        low = (torch.from_numpy(keys.uniform("low", 1)) * (layout.channels - width + 1)).long()
        bins = torch.arange(layout.channels)[None]
        band = (bins >= low) & (bins < low + width)
        return replace(
            time, action=(action * time.hidden).to(torch.uint8), source=(place + shift) % length,
            cells=band[:, None, :] & layout.maskable()[:, :, None],
            extra={"noise": torch.from_numpy(keys.uniform("noise", 1)[:, 0] < self.noisy)},
        )


class Alter:
    site = "feature"

    def __call__(self, view, stream, plan, scene):
        clean = view.tokens[stream].values
        altered = clean.clone()  # sources are read from the clean frames, never from altered ones
        copied = clean.gather(1, plan.source[..., None].expand_as(clean))
        altered[plan.action == Action.COPY] = copied[plan.action == Action.COPY]
        altered[plan.action == Action.ZERO] = 0.0
        altered[plan.cells] = 0.0
        for row in plan.extra["noise"].nonzero().flatten().tolist():
            noise = scene.keys.generator(row, "magnitude").normal(0.0, 0.2, altered[row].shape)
            altered[row] += torch.from_numpy(noise).to(altered)
        return view.tokens[stream].with_data(altered)


class Small(nn.Module):
    def __init__(self, tiny):
        super().__init__()
        self.up, self.block = nn.Linear(BINS, 16), tiny.Block(16)

    def forward(self, view, *, taps=()):
        tokens = view.only()
        return Encoded(tokens.layout, self.block(self.up(tokens.values), tokens.layout.valid)[0])


class Redraw(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, BINS)

    def forward(self, encoded, scored):
        return Prediction(self.linear(encoded.places), scored)


def clean_frames(scene, scored):
    return Target(scene.view("clean").only().values, scored)


def absolute(prediction, target):
    each = (prediction.value - target.value).abs() * prediction.scored.weight
    return Term(each.sum(), prediction.scored.count(), over="elements")


def tera(tiny, **options):
    torch.manual_seed(1)
    return MaskedModel(
        tokenizers={"speech": Frames()},
        maskers={"alteration": PlanMaker(Alteration(**options), ("speech",))},
        views={"masked": ViewMaker("clean", "alteration", Alter())},
        networks={"encoder": Small(tiny)},
        objectives={"l1": MaskedObjective(
            name="l1", plan="alteration", scored="cells", head=Redraw(), target=clean_frames, loss=absolute,
        )},
    )


def speech(size=8, length=60, seed=0):
    make = torch.Generator().manual_seed(seed)
    lengths = torch.randint(length // 2, length + 1, (size,), generator=make)
    lengths[0] = length
    mel = torch.randn(size, length, BINS, generator=make)
    mel[torch.arange(length)[None] >= lengths[:, None]] = 0.0
    return Batch(
        {"mel": mel, "mel.length": lengths}, np.arange(size, dtype=np.uint64), np.zeros(size, np.int64)
    )


def test_coverage_and_the_dice_are_the_papers():
    size = 2000
    keys = speech(2).keys(0)
    keys = replace(keys, ids=np.arange(size, dtype=np.uint64), visits=np.zeros(size, np.int64))
    plan = Alteration().plan(Layout(size, 1000, channels=BINS), keys)
    assert plan.hidden.float().mean().item() == pytest.approx(0.138, abs=0.003)
    action = plan.action.amax(1)  # one action an utterance
    for kind, share in ((Action.ZERO, 0.8), (Action.COPY, 0.1), (Action.KEEP, 0.1)):
        assert (action == kind).double().mean().item() == pytest.approx(share, abs=0.03)
    assert plan.extra["noise"].double().mean().item() == pytest.approx(0.15, abs=0.03)
    widths = plan.cells[:, 0].sum(1)
    assert torch.bincount(widths, minlength=5).div(size).sub(0.2).abs().max() < 0.03  # 0 is a width like any


def test_altered_and_scored_differ_as_the_dice_say(tiny):
    model, batch = tera(tiny, widest=0, noisy=0.0), speech(64)
    scene = model.scene(batch)
    plan = scene.plan("alteration")
    clean, seen = scene.view("clean").only().values, scene.view("masked").only().values
    action = plan.action.amax(1)
    assert {int(a) for a in action} == {Action.ZERO, Action.COPY, Action.KEEP}
    scored = Scored.cells(plan).weight.bool()
    for row in range(64):
        hidden, same = plan.hidden[row], (clean[row] == seen[row]).all(-1)
        assert scored[row].any(-1).equal(hidden)
        assert same[~hidden].all()
        if action[row] == Action.KEEP:
            assert same.all()
        if action[row] == Action.ZERO:
            assert not seen[row][hidden].any()
        if action[row] == Action.COPY:
            assert torch.equal(seen[row][hidden], clean[row][plan.source[row][hidden]])


def test_padding_is_neither_altered_nor_scored_nor_copied_from(tiny):
    model, batch = tera(tiny, noisy=0.0), speech(32)
    scene = model.scene(batch)
    plan, padding = scene.plan("alteration"), ~scene.layout().valid
    assert not Scored.cells(plan).weight[padding].any()
    assert torch.equal(scene.view("masked").only().values[padding], batch["mel"][padding])
    assert (plan.source < batch["mel.length"][:, None]).all()


def test_only_selected_cells_of_the_prediction_carry_gradient(tiny):
    model, batch = tera(tiny), speech()
    losses, predictions = model(batch, predictions=True)
    predictions["l1"].value.retain_grad()
    losses.total().backward()
    scored = Scored.cells(model.draw(batch).plan("alteration")).weight.bool()
    grad = predictions["l1"].value.grad
    assert not grad[~scored].any()
    assert (grad[scored] != 0).all()
    assert losses.terms["l1"].count == scored.sum()


def test_the_target_is_the_clean_input(tiny):
    model, batch = tera(tiny), speech()
    before = batch["mel"].clone()
    scene = model.scene(batch)
    model.objectives["l1"](scene)
    assert not torch.equal(scene.view("masked").only().values, before)
    assert torch.equal(batch["mel"], before)
    assert torch.equal(clean_frames(scene, None).value, before)


def test_noise_changes_the_input_and_scores_nothing(tiny):
    batch = speech()
    quiet, loud = tera(tiny, noisy=0.0).scene(batch), tera(tiny, noisy=1.0).scene(batch)
    plans = [scene.plan("alteration") for scene in (quiet, loud)]
    assert torch.equal(Scored.cells(plans[0]).weight, Scored.cells(plans[1]).weight)
    difference = loud.view("masked").only().values - quiet.view("masked").only().values
    assert difference.std().item() == pytest.approx(0.2, rel=0.1)
    again = tera(tiny, noisy=1.0).scene(batch.rows(3, 5)).view("masked").only().values
    assert torch.equal(again, loud.view("masked").only().values[3:5])


def test_micro_batches_give_the_gradient_of_the_whole_batch(tiny):
    whole, parts, batch = tera(tiny).double(), tera(tiny).double(), speech()
    batch = batch.with_field("mel", batch["mel"].double())
    whole(batch).total().backward()
    plans = parts.draw(batch)
    for start, stop in ((0, 3), (3, 8)):
        micro = plans.rows(start, stop)
        parts(micro.batch, micro).total(parts.denominators(plans)).backward()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)
