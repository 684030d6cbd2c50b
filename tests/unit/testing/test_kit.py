"""The conformance kit finds what it is for."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from mmask.api import Component, MaskPlan
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.testing import MaskerLaws, check_plugin, fakes


class Undocumented:
    def plan(self, layout, keys): ...


class Positional:
    """Takes its option by position."""

    def __init__(self, ratio=0.5): ...

    def plan(self, layout, keys): ...


class NoVerb:
    """Plans nothing."""


@pytest.fixture
def parts(monkeypatch):
    module = types.ModuleType("kit_parts")
    for part in (Undocumented, Positional, NoVerb):
        setattr(module, part.__name__, part)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_the_fakes_and_the_template_conform():
    check_plugin("fakes", host=Host([fakes.entry()], environ={}))


@pytest.mark.parametrize(("target", "said"), [
    ("Undocumented", "has no docstring"), ("Positional", "ratio must be keyword options"), ("NoVerb", "lacks plan"),
])
def test_a_component_that_breaks_a_rule_is_named(parts, target, said):
    entry = fakes.entry("fakes", Component("masker", "odd", f"kit_parts:{target}", "odd"))
    with pytest.raises(AssertionError, match=said):
        check_plugin("fakes", host=Host([entry], environ={}))


def test_a_broken_plugin_and_a_claimed_name_fail():
    with pytest.raises(AssertionError, match="is broken"):
        check_plugin("g", host=Host([Entry("g", "no_such_module_anywhere")], environ={}))
    entry = fakes.entry("fakes", Component("masker", "random", "mmask.testing.fakes:FakeMasker", "twice"))
    with pytest.raises(AssertionError, match="masker random"):
        check_plugin("fakes", host=Host([entry], environ={}))


class TestLawsHoldForAGoodMasker(MaskerLaws):
    def make(self):
        return fakes.FakeMasker(ratio=0.5)

    def layout(self):  # it knows no padding
        return super().layout()


class Leaky:
    """Depends on the row of the batch, hides padding, and forgets the seed."""

    def plan(self, layout, keys):
        import torch

        hidden = torch.zeros(layout.batch, layout.length, dtype=torch.bool)
        hidden[torch.arange(layout.batch), torch.arange(layout.batch)] = True
        return MaskPlan(layout, hidden, torch.arange(layout.length).expand(layout.batch, -1))


class Careless(fakes.FakeMasker):
    """Draws a single number from a global generator."""

    def plan(self, layout, keys):
        np.random.rand()
        return super().plan(layout, keys)


def test_one_draw_from_a_global_generator_is_noticed():
    class Laws(MaskerLaws):
        def make(self):
            return Careless()

    Laws.__test__ = False
    with pytest.raises(AssertionError):
        Laws().test_global_generators_are_left_alone()


@pytest.mark.parametrize("law", [
    "test_kept_and_hidden_partition_the_valid_places", "test_another_seed_or_visit_gives_another_plan",
    "test_a_sample_has_the_same_plan_in_any_batch", "test_padding_and_special_places_are_never_hidden",
])
def test_the_laws_fail_for_a_bad_masker(law):
    class Laws(MaskerLaws):
        def make(self):
            return Leaky()

    Laws.__test__ = False
    with pytest.raises(AssertionError):
        getattr(Laws(), law)()
