"""The composition root: programs, teachers, averaged networks, taps, late plans, splits of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mmask.errors import PlanError, RecipeError
from mmask.mask.random import RandomMasker
from mmask.recipe.schema import Recipe, use
from mmask.train.build import build_model
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.train.program import Program, Task
from mmask.train.stamp import stamp
from mmask.types import Action, Batch, Encoded, Layout, Losses, Prediction, Target, Term, Tokens, Visibility


class Cut:
    def layout(self, batch):
        return Layout(len(batch), 6)

    def __call__(self, batch):
        return Tokens(self.layout(batch), values=batch["x"])


class Zero:
    site = "feature"

    def __call__(self, view, stream, plan, scene):
        return view.tokens[stream].with_data(view.tokens[stream].values.masked_fill(plan.hidden[..., None], 0.0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.runs = nn.Linear(3, 3), []

    def forward(self, view, *, taps=()):
        self.runs.append((view.name, tuple(taps), torch.is_grad_enabled(), self.training))
        state = self.linear(view.only().values)
        return Encoded(view.only().layout, state, taps={name: state * 2 for name in taps})


class Same(nn.Module):
    def __init__(self, tap=None):
        super().__init__()
        self.tap = tap

    def forward(self, encoded, scored):
        return Prediction(encoded.at(scored) if self.tap is None else scored.take(encoded.taps[self.tap]), scored)


def clean(scene, scored):
    return Target(scored.take(scene.view("clean").only().values), scored)


def teacher(scene, scored):
    return Target(scored.take(scene.encode("teacher", "clean").places), scored)


def own(scene, scored):
    return Target(scored.take(scene.encode("encoder", "rest", grad=False).places), scored)


def squared(prediction, target):
    return Term((prediction.value - target.value).square().sum(), prediction.scored.count())


def objective(name, *, target=clean, head=None, **options):
    return MaskedObjective(name=name, head=head or Same(), target=target, loss=squared, **options)


def model_of(*objectives, **options):
    torch.manual_seed(0)
    return MaskedModel(
        tokenizers={"x": Cut()}, maskers={"mask": PlanMaker(RandomMasker(ratio=0.5), ("x",))},
        views={"masked": ViewMaker(corrupt=Zero()), "rest": ViewMaker(corrupt=Zero(), complement=True)},
        networks={"encoder": Net(), "teacher": Net()}, objectives={o.name: o for o in objectives}, **options,
    )


def batch(size=4):
    x = torch.randn(size, 6, 3, generator=torch.Generator().manual_seed(0))
    return Batch({"x": x}, np.arange(size, dtype=np.uint64), np.zeros(size, np.int64))


def test_one_pass_serves_every_objective_with_all_the_taps_they_declared():
    model = model_of(
        objective("last"), objective("deep", head=Same("block.1"), taps=["block.1"]),
        objective("deeper", head=Same("block.2"), taps=["block.2", "block.1"]),
    )
    model(batch())
    assert model.network("encoder").runs == [("masked", ("block.1", "block.2"), True, True)]


def test_a_tap_asked_for_too_late_is_an_error_with_a_way_out():
    scene = model_of(objective("last")).scene(batch())
    scene.encode("encoder", "masked")
    with pytest.raises(PlanError, match="objective's taps"):
        scene.encode("encoder", "masked", taps=["block.1"])


def test_a_frozen_teacher_runs_once_without_gradient_in_evaluation_mode():
    model = model_of(
        objective("a", target=teacher), objective("b", target=teacher), frozen=frozenset({"teacher"})
    ).train()
    model(batch()).total().backward()
    assert model.network("teacher").runs == [("clean", (), False, False)]
    assert all(p.grad is None for p in model.network("teacher").parameters())
    assert model.network("encoder").linear.bias.grad.abs().sum() > 0


def test_a_networks_output_is_a_constant_target_unless_said_otherwise():
    def attached(scene, scored):
        return replace(teacher(scene, scored), attached=True)

    for target, reached in ((teacher, False), (attached, True)):
        model = model_of(objective("a", target=target))
        model(batch()).total().backward()
        assert (model.network("teacher").linear.weight.grad is not None) == reached


def test_the_same_network_can_see_the_complement_without_gradient():
    model = model_of(objective("align", target=own))
    scene = model.scene(batch())
    assert torch.equal(scene.view("rest").plan().hidden, ~scene.plan("mask").hidden)
    model(batch()).total().backward()
    assert [run[:3:2] for run in model.network("encoder").runs] == [("masked", True), ("rest", False)]


def test_an_averaged_network_starts_as_a_copy_and_follows_at_its_decay():
    model = model_of(objective("a", target=teacher), emas={"teacher": ("encoder", 0.9)})
    ours, theirs = model.network("teacher").linear.weight, model.network("encoder").linear.weight
    assert torch.equal(ours, theirs)
    assert not ours.requires_grad
    before = ours.clone()
    with torch.no_grad():
        theirs.add_(1.0)
    model.update_emas()
    torch.testing.assert_close(ours, before + 0.1)
    assert model.train().network("teacher").training is False


def test_a_program_of_every_k_steps_and_one_by_ratio_is_a_function_of_seed_and_step():
    every = Program("all", {"a": Task(("a",)), "b": Task(("b",), every=3)})
    model = model_of(objective("a"), objective("b"), program=every)
    assert [set(model.active(step)) for step in range(4)] == [{"a", "b"}, {"a"}, {"a"}, {"a", "b"}]
    assert set(model.eval().active(1)) == {"a", "b"}
    one = Program("one", {"a": Task(("a",), 3.0), "b": Task(("b",), 1.0)})
    drawn = [one.task(0, step) for step in range(4000)]
    assert drawn == [one.task(0, step) for step in range(4000)]
    assert drawn != [one.task(1, step) for step in range(4000)]
    assert drawn.count(("a",)) / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(("tasks", "said"), [
    ({"t": Task(("a", "c"))}, "no objective 'c'"), ({"t": Task(("a",))}, "never be learnt"),
    ({"t": Task(("a",), every=2), "u": Task(("b",), every=3)}, "skips steps"),
])
def test_a_program_that_cannot_be_meant_is_refused(tasks, said):
    with pytest.raises(RecipeError, match=said):
        model_of(objective("a"), objective("b"), program=Program("all", tasks))


def test_the_step_of_drawn_plans_is_the_step_of_the_pass():
    program = Program("one", {"a": Task(("a",)), "b": Task(("b",))})
    model = model_of(objective("a"), objective("b"), program=program)
    for step in range(8):
        plans = model.draw(batch(), step=step)
        assert tuple(model(plans.batch, plans)) == model.active(step) == tuple(model.denominators(plans))


def test_a_term_that_two_objectives_return_is_refused():
    class Twice(nn.Module):
        coupling = "none"

        def denominators(self, plans):
            return {"a": 1.0}

        def forward(self, scene):
            return Losses({"a": Term(torch.zeros(()), 1.0)})

    one, two = Twice(), Twice()
    one.name, two.name = "one", "two"
    with pytest.raises(RecipeError, match="'a'"):
        model_of(one, two)(batch())


def test_a_globally_coupled_objective_is_never_accumulated():
    other = objective("a")
    other.coupling = "global"
    model = model_of(other)
    model.check_split(8, ranks=2)
    with pytest.raises(RecipeError, match="accumulate=1"):
        model.check_split(8, accumulate=2)
    with pytest.raises(RecipeError, match="divisible by 3"):
        model.check_split(8, ranks=3)


def test_a_corruption_may_return_a_whole_view():
    class Unseen:
        site = "embedding"

        def __call__(self, view, stream, plan, scene):
            return replace(view, visibility=Visibility(keys=~plan.hidden))

    model = model_of(objective("a"))
    model.view_makers["masked"] = ViewMaker(corrupt=Unseen())
    scene = model.scene(batch())
    assert torch.equal(scene.view("masked").visible(0).keys, ~scene.plan("mask").hidden)
    assert torch.equal(scene.view("masked").only().values, batch()["x"])


def test_unknown_plans_views_and_objectives_are_named_with_the_nearest_one():
    scene = model_of(objective("align")).scene(batch())
    for ask, near in ((scene.plan, "mask"), (scene.view, "masked"), (scene.predict, "align")):
        with pytest.raises(PlanError, match=f"did you mean '{near}'"):
            ask(near[:-1])


class Host:
    """Builds the toy parts by name."""

    parts = {
        "cut": Cut, "zero": Zero, "net": Net, "same": Same, "random": RandomMasker,
        "clean": lambda: clean, "squared": lambda: squared,
    }

    def build(self, kind, spec, /, **wiring):
        if spec.use == "tube":
            from mmask.mask.tube import TubeMasker

            return TubeMasker(spatial=wiring["spatial"], **spec.options())
        return self.parts[spec.use](**spec.options())


def recipe(**changes):
    base = {
        "name": "toy", "data": {}, "tokenize": {"x": use("cut")}, "mask": use("random", ratio=0.5),
        "views": {"masked": {"corrupt": use("zero")}},
        "networks": {"encoder": {"use": "net"}, "slow": {"use": "net", "ema_of": "encoder", "ema_decay": 0.5}},
        "objectives": {name: {"head": use("same"), "target": use("clean"), "loss": use("squared")}
                       for name in ("a", "b")},
        "optim": {"lr": 1e-3}, "schedule": {"steps": 1},
    }
    return Recipe.model_validate({**base, **changes})


def test_a_recipe_says_programs_averages_taps_and_nested_maskers():
    tasks = {"often": {"objectives": ["a"]}, "rarely": {"objectives": ["b"], "every": 4}}
    made = build_model(recipe(program={"tasks": tasks}), Host())
    assert made.active(1) == ("a",)
    assert made.active(4) == ("a", "b")
    assert made.emas == {"slow": ("encoder", 0.5)}
    assert "slow" in made.frozen
    nested = build_model(recipe(mask=use("tube", spatial=use("random", ratio=0.25))), Host())
    assert nested.maskers["mask"].masker.spatial.ratio == 0.25
    as_toml = build_model(recipe(mask={"use": "tube", "spatial": {"use": "random", "ratio": 0.25}}), Host())
    assert as_toml.maskers["mask"].masker.spatial.ratio == 0.25


def test_every_masker_of_a_recipe_takes_the_actions_of_its_places():
    made = build_model(recipe(mask=use("random", ratio=0.5, action={"keep": 0.5, "zero": 0.5, "per": "run"})), Host())
    assert made.maskers["mask"].action.per == "run"
    plan = made.draw(batch()).plan("mask")
    assert torch.equal(plan.action > 0, plan.hidden)
    assert set(plan.action.unique().tolist()) == {0, Action.KEEP, Action.ZERO}
    plain = build_model(recipe(), Host()).draw(batch()).plan("mask")
    assert plain.action is None
    assert torch.equal(plain.hidden, plan.hidden)
    with pytest.raises(RecipeError, match="it is a table of shares"):
        build_model(recipe(mask=use("random", action=0.8)), Host())


def test_an_average_of_a_network_that_is_not_there_yet_is_refused():
    networks = {"slow": {"use": "net", "ema_of": "encoder"}, "encoder": {"use": "net"}}
    with pytest.raises(RecipeError, match="put the network it averages first"):
        build_model(recipe(networks=networks), Host())


def test_a_stamp_sees_every_part_of_a_plan_and_no_padding():
    model = model_of(objective("a"))
    plans = model.draw(batch())
    plan = plans.plan("mask")
    place = torch.arange(6).expand(4, -1)
    parts = {
        "action": plan.hidden.to(torch.uint8), "source": place.flip(1), "edit": place.roll(1, 1),
        "cells": plan.hidden[..., None].expand(-1, -1, 3), "extra": {"noise": torch.tensor([True, False, True, False])},
    }

    def stamped(**more):
        changed = replace(plan, **more)
        return stamp(replace(plans, plans={"mask": {"x": changed}}))

    seen = {stamped()} | {stamped(**{name: value}) for name, value in parts.items()}
    assert len(seen) == 1 + len(parts)
    assert stamped(edit=place) == stamped(edit=torch.cat([place, torch.full((4, 2), -2)], 1))
