"""Hook calls: one plugin that raises never silences another."""

from __future__ import annotations

import pytest

from mmask.api import hookimpl
from mmask.errors import PluginError, RecipeError
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host


class Recorder:
    """Implements every hook; ``fail`` names the one that raises."""

    def __init__(self, fail=""):
        self.fail, self.calls = fail, []

    def _call(self, name, *args):
        self.calls.append((name, *args))
        if self.fail == name:
            raise ValueError("boom")

    @hookimpl
    def mmask_components(self):
        return ()

    @hookimpl
    def mmask_recipe(self, recipe):
        self._call("recipe", recipe)

    @hookimpl
    def mmask_run_started(self, run):
        self._call("started", run)

    @hookimpl
    def mmask_report(self, step):  # fewer arguments than the hook offers
        self._call("report", step)

    @hookimpl
    def mmask_run_finished(self, run, outcome):
        self._call("finished", outcome)

    @hookimpl
    def mmask_checks(self):
        self._call("checks")
        return [("gpu", False, "buy one")]


def pair(fail):
    bad, good, lines = Recorder(fail), Recorder(), []
    host = Host([Entry("a", bad), Entry("b", good)], environ={}, notify=lines.append)
    host.load_all()
    return host, bad, good, lines


def test_a_report_hook_that_raises_is_named_once_and_muted():
    host, bad, good, lines = pair("report")
    for step in range(3):
        host.hooks.report(step, {})
    assert len(bad.calls) == 1
    assert [step for _, step in good.calls] == [0, 1, 2]
    assert len(lines) == 1
    assert "plugin a failed in mmask_report: ValueError: boom" in lines[0]


def test_finishing_reaches_everyone_even_after_a_failure():
    host, _, good, lines = pair("finished")
    host.hooks.run_finished(None, "done")
    assert good.calls == [("finished", "done")]
    assert len(lines) == 1


def test_starting_stops_the_run_and_names_the_plugin():
    host, *_ = pair("started")
    with pytest.raises(PluginError, match="plugin a failed in mmask_run_started: ValueError: boom") as caught:
        host.hooks.run_started(None)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_plugin_may_refuse_a_recipe_and_is_named():
    class Strict:
        @hookimpl
        def mmask_recipe(self, recipe):
            raise RecipeError("too large", hint="halve it")

    host = Host([Entry("s", Strict())], environ={})
    host.load_all()
    with pytest.raises(RecipeError, match="plugin s refuses the recipe: too large") as caught:
        host.hooks.recipe(object())
    assert caught.value.hint == "halve it"


def test_a_check_that_raises_is_a_failed_check():
    host, *_ = pair("checks")
    checks = {check.plugin: check for check in host.hooks.checks()}
    assert not checks["a"].ok
    assert "boom" in checks["a"].advice
    assert (checks["b"].name, checks["b"].ok, checks["b"].advice) == ("gpu", False, "buy one")
