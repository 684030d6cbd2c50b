"""The host: finding, quarantine, names, switches."""

from __future__ import annotations

import sys
import types

import pytest

from mmask.api import Component, hookimpl
from mmask.errors import NameClashError, PluginError, UnknownNameError
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.testing import fakes


class Manifest:
    def __init__(self, *components):
        self.components = components

    @hookimpl
    def mmask_components(self):
        return self.components


class Misspelt:
    @hookimpl
    def mmask_component(self):
        return ()


class Raising:
    @hookimpl
    def mmask_components(self):
        raise RuntimeError("no luck") from KeyError("inner cause")


def masker(name, target="mmask.testing.fakes:FakeMasker"):
    return Component("masker", name, target, "a masker")


def entry(name, *components, dist=None):
    return Entry(name, Manifest(*components), dist or f"mmask-{name}", "1.2")


def host(*entries, **environ):
    lines = []
    made = Host(entries, environ=environ, notify=lines.append)
    made.lines = lines
    return made


def test_the_core_comes_through_the_same_door():
    core = host().plugin("core")
    assert core.state == "ready"
    assert core.entry.value == "mmask.builtin"
    assert ("masker", "random") in {(c.kind, c.name) for c in core.components}


def test_nothing_is_imported_before_it_is_needed():
    plugins = host(Entry("ghost", "no_such_module_anywhere", "mmask-ghost", "1")).plugins
    assert [p.state for p in plugins] == ["unseen", "unseen"]


def test_a_qualified_name_loads_only_its_plugin():
    made = host(entry("a", masker("one")), Entry("ghost", "no_such_module_anywhere"))
    assert made.find("masker", "a/one").qualified == "a/one"
    assert {p.name: p.state for p in made.plugins} == {"core": "unseen", "a": "ready", "ghost": "unseen"}
    assert made.lines == []


def test_a_plugin_that_fails_at_import_is_broken_with_its_whole_traceback():
    broken = host(Entry("ghost", "no_such_module_anywhere", "mmask-ghost", "1")).plugin("ghost")
    assert broken.state == "broken"
    assert broken.reason == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    assert "Traceback" in broken.trace
    assert "import_module" in broken.trace


def test_a_hook_that_raises_keeps_its_chained_cause():
    broken = host(Entry("sad", Raising())).plugin("sad")
    assert broken.state == "broken"
    assert "no luck" in broken.reason
    assert "inner cause" in broken.trace


def test_a_misspelt_hook_is_named_with_the_nearest_one():
    broken = host(Entry("typo", Misspelt())).plugin("typo")
    assert broken.state == "broken"
    assert "unknown hook 'mmask_component' (did you mean 'mmask_components'?)" in broken.reason


def test_a_manifest_without_hooks_is_broken():
    assert "no hook" in host(Entry("empty", types.SimpleNamespace())).plugin("empty").reason


@pytest.mark.parametrize(("given", "said"), [
    (("masker",), "no mmask.api.Component"),
    ((masker("x"), masker("x")), "claims the masker 'x' twice"),
])
def test_what_is_no_component_or_claimed_twice_breaks_its_plugin(given, said):
    assert said in host(entry("a", *given)).plugin("a").reason


def test_a_broken_plugin_breaks_no_other_and_is_told_in_one_line():
    made = host(Entry("ghost", "no_such_module_anywhere", "mmask-ghost", "1"), entry("a", masker("one")))
    assert made.find("masker", "one").plugin.name == "a"
    assert len(made.lines) == 1
    assert made.lines[0].startswith("plugin ghost (mmask-ghost 1) could not be loaded: ModuleNotFoundError")


def test_a_broken_plugin_that_is_named_stops_with_its_cause():
    made = host(Entry("ghost", "no_such_module_anywhere", "mmask-ghost", "1"))
    with pytest.raises(PluginError, match=r"ghost \(mmask-ghost 1\) is broken") as caught:
        made.find("masker", "ghost/x")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_unknown_name_names_the_nearest_and_the_broken_plugins():
    made = host(Entry("ghost", "no_such_module_anywhere", "mmask-ghost", "1"), entry("a", masker("block")))
    with pytest.raises(UnknownNameError) as caught:
        made.find("masker", "blok")
    lines = str(caught.value).splitlines()
    assert lines[0] == "no masker named 'blok' (did you mean 'block'?)"
    text = str(caught.value)
    assert "1 plugin could not be loaded and may have provided it:" in text
    assert "ghost (mmask-ghost 1): ModuleNotFoundError" in text
    assert "see it in full: mmask plugins ghost      switch it off: MMASK_BLOCK=ghost" in text


def test_a_name_of_another_kind_says_which():
    with pytest.raises(UnknownNameError, match="'random' is a masker, not a loss"):
        host().find("loss", "random")


def test_an_unknown_kind_is_an_error_of_its_own():
    with pytest.raises(PluginError, match="no kind of component 'maskr'"):
        host().find("maskr", "random")


def test_a_clash_names_both_owners_and_the_qualified_names_work():
    made = host(entry("a", masker("same")), entry("b", masker("same")))
    with pytest.raises(NameClashError) as caught:
        made.find("masker", "same")
    text = str(caught.value)
    assert "a (mmask-a 1.2)" in text
    assert "b (mmask-b 1.2)" in text
    assert "'a/same' or 'b/same'" in text
    assert made.find("masker", "b/same").plugin.name == "b"


def test_two_distributions_with_one_plugin_name_are_both_unusable_until_one_is_blocked():
    twins = (entry("a", masker("one"), dist="mmask-a"), entry("a", masker("two"), dist="other-a"))
    made = host(*twins)
    assert [p.state for p in made.plugins[1:]] == ["broken", "broken"]
    for plugin in made.plugins[1:]:
        assert "mmask-a 1.2 and other-a 1.2" in plugin.reason
        assert "MMASK_BLOCK=other-a" in plugin.reason
    with pytest.raises(PluginError, match="is broken"):
        made.find("masker", "a/one")
    mended = host(*twins, MMASK_BLOCK="other-a")
    assert mended.find("masker", "a/one").plugin.entry.distribution == "mmask-a"


def test_a_twin_of_the_core_cannot_replace_it():
    made = host(entry("core", masker("random")))
    assert {p.state for p in made.load_all()} == {"broken"}


def test_block_and_only_switch_plugins_off():
    both = (entry("a", masker("one")), entry("b", masker("two")))
    blocked = host(*both, MMASK_BLOCK="a")
    assert blocked.names("masker") == ["block", "group", "random", "span", "tube", "two"] or "one" not in blocked.names(
        "masker"
    )
    with pytest.raises(UnknownNameError, match="blocked and not searched: a"):
        blocked.find("masker", "one")
    with pytest.raises(PluginError, match="blocked: by MMASK_BLOCK"):
        blocked.find("masker", "a/one")
    only = host(*both, MMASK_ONLY="b")
    assert {p.name: p.state for p in only.load_all()} == {"core": "ready", "a": "blocked", "b": "ready"}


def test_a_misspelt_switch_is_told():
    assert host(entry("image"), MMASK_BLOCK="imgae").lines == [
        "MMASK_BLOCK names 'imgae', which is not installed (did you mean 'image'?)"
    ]


def test_strict_makes_any_broken_plugin_an_error_but_listings_still_work():
    made = host(Entry("ghost", "no_such_module_anywhere"), MMASK_STRICT="1")
    with pytest.raises(PluginError, match="ghost is broken"):
        made.names("masker")
    assert len(made.load_all(tolerant=True)) == 2


def test_an_entry_for_another_door_is_named_not_loaded():
    made = host(Entry("late", "no_such_module_anywhere", "mmask-late", "9", group="mmask.v2"))
    assert made.plugin("late").reason == "written for v2 of the plugin door, this is v1"


def test_listings_do_not_depend_on_the_order_of_installation():
    entries = [entry("b", masker("z"), masker("y")), entry("a", masker("x"))]
    names = [[c.qualified for c in host(*order).claims("masker")] for order in (entries, entries[::-1])]
    assert names[0] == names[1]


def test_system_exit_of_a_plugin_is_not_swallowed(monkeypatch):
    module = types.ModuleType("leaving")

    def components():
        raise KeyboardInterrupt

    module.mmask_components = hookimpl(components)
    components.__name__ = "mmask_components"
    monkeypatch.setitem(sys.modules, "leaving", module)
    with pytest.raises(KeyboardInterrupt):
        host(Entry("leaving", "leaving")).plugin("leaving")


def test_the_versions_of_ready_plugins_are_known():
    made = host(fakes.entry())
    made.load_all()
    assert made.versions()["fakes"] == "mmask-fakes 0.0"
