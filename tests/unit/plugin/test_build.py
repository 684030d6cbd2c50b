"""Building components: options by name and type, wiring, failures with their place."""

from __future__ import annotations

import sys
import types
from typing import Annotated, Literal

import pytest
from pydantic import Field

from mmask.api import Component, hookimpl, use
from mmask.errors import PluginError, RecipeError, UnknownNameError
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host


class Good:
    """A masker with options of many types."""

    def __init__(
        self, *, ratio: float = 0.5, size: int | tuple[int, int] = 4, mode: Literal["a", "b"] = "a",
        share: Annotated[float, Field(gt=0, le=1)] = 1.0, free: NotThere = None, tokenizer=None,  # noqa: F821
    ) -> None:
        if ratio > 1:
            raise RecipeError(f"ratio is {ratio}; it is a share")
        self.ratio, self.size, self.mode, self.free, self.tokenizer = ratio, size, mode, free, tokenizer

    def plan(self, layout, keys): ...


class Needy:
    def __init__(self, *, width: int) -> None: ...

    def plan(self, layout, keys): ...


class Crashing:
    def __init__(self) -> None:
        raise ZeroDivisionError("inside")


class Wrong:
    pass


def loss_function(prediction, target, *, factor: float = 1.0):
    return factor


@pytest.fixture
def host(monkeypatch):
    module = types.ModuleType("parts_for_tests")
    for part in (Good, Needy, Crashing, Wrong, loss_function):
        setattr(module, part.__name__, part)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class Manifest:
        @hookimpl
        def mmask_components(self):
            for name in ("Good", "Needy", "Crashing", "Wrong", "Missing"):
                yield Component("masker", name.lower(), f"parts_for_tests:{name}", "a part")
            yield Component("loss", "function", "parts_for_tests:loss_function", "a function")
            yield Component("masker", "elsewhere", "no_such_module_anywhere:X", "a part")

    return Host([Entry("t", Manifest(), "mmask-t", "3")], environ={})


def test_options_reach_the_constructor(host):
    made = host.build("masker", use("good", ratio=0.25, size=[2, 3], mode="b"))
    assert (made.ratio, made.size, made.mode) == (0.25, (2, 3), "b")


def test_an_unknown_option_names_the_nearest_with_its_place(host):
    with pytest.raises(UnknownNameError) as caught:
        host.build("masker", use("good", ratoi=0.5), where="mask")
    assert "masker 'good' has no option 'ratoi' (did you mean 'mask.ratio'?)" in str(caught.value)


@pytest.mark.parametrize(("option", "value"), [
    ("ratio", "abc"), ("ratio", "0.5"), ("ratio", True), ("size", [1, 2, 3]), ("mode", "c"), ("share", 0),
])
def test_a_value_of_the_wrong_type_or_range_names_the_key(host, option, value):
    with pytest.raises(RecipeError, match=f"mask.{option} = "):
        host.build("masker", use("good", **{option: value}), where="mask")


def test_an_annotation_that_cannot_be_evaluated_leaves_its_option_unchecked(host):
    assert host.build("masker", use("good", free=object)).free is object


def test_a_missing_option_is_named(host):
    with pytest.raises(RecipeError, match="masker 'needy' needs the option 'width'"):
        host.build("masker", use("needy"), where="mask")


def test_wiring_reaches_only_those_who_declare_it_and_options_win(host):
    assert host.build("masker", use("good"), tokenizer="t", network="n").tokenizer == "t"
    assert host.build("masker", use("good", tokenizer="own"), tokenizer="t").tokenizer == "own"
    host.build("masker", use("needy", width=3), tokenizer="t")


def test_a_constructor_that_fails_is_wrapped_with_plugin_component_and_target(host):
    with pytest.raises(PluginError) as caught:
        host.build("masker", use("crashing"))
    for part in ("t (mmask-t 3)", "masker 'crashing'", "parts_for_tests:Crashing", "ZeroDivisionError: inside"):
        assert part in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_mistake_the_component_names_keeps_its_kind_and_gets_its_place(host):
    with pytest.raises(RecipeError, match=r"^networks.x: ratio is 2.0"):
        host.build("masker", use("good", ratio=2.0), where="networks.x")


def test_a_result_without_the_verbs_of_its_kind_is_refused(host):
    with pytest.raises(PluginError, match="made a Wrong without plan"):
        host.build("masker", use("wrong"))


@pytest.mark.parametrize(("name", "said"), [("missing", "does not exist"), ("elsewhere", "cannot be imported")])
def test_a_target_that_is_not_there_is_named(host, name, said):
    with pytest.raises(PluginError, match=said):
        host.build("masker", use(name))


def test_a_function_with_positional_arguments_is_the_component_itself(host):
    assert host.build("loss", use("function"))(1, 2) == 1.0
    assert host.build("loss", use("function", factor=3.0))(1, 2) == 3.0
    with pytest.raises(UnknownNameError, match="no option 'prediction'"):
        host.build("loss", use("function", prediction=1))
