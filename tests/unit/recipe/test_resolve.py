"""Layers of a recipe, where each value came from, and messages about what is wrong."""

from __future__ import annotations

import pytest

from mmask.api import Component
from mmask.errors import NameClashError, PluginError, RecipeError, UnknownNameError, UsageError
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.recipe.freeze import freeze, write
from mmask.recipe.load import from_file
from mmask.recipe.resolve import resolve
from mmask.testing import fakes

BASE = "recipe fakes-tiny (mmask-fakes 0.0)"


@pytest.fixture
def host():
    return Host([fakes.entry()], environ={})


def toml(tmp_path, text, name="run.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_every_leaf_has_an_origin(host, tmp_path):
    path = toml(tmp_path, 'recipe = "fakes-tiny"\n[data]\nbatch_size = 12\n[optim]\nweight_decay = 0.1\n')
    made = resolve(
        host, config=path, flags={"train.seed": ("--seed", 5)}, overrides=["mask.ratio=0.25", "optim.lr=2e-3"],
    )
    assert made.profile == "demo"
    origins = {
        "data.batch_size": str(path), "optim.weight_decay": str(path), "schedule.steps": "profile demo",
        "train.seed": "command line --seed", "mask.ratio": "command line", "optim.lr": "command line",
        "networks.encoder.width": BASE, "optim.eps": "default", "train.trackers": "default",
    }
    assert {key: made.origins[key] for key in origins} == origins
    recipe = made.recipe
    assert (recipe.data.batch_size, recipe.train.seed, recipe.optim.lr) == (12, 5, 2e-3)
    assert recipe.mask.options() == {"ratio": 0.25}
    assert made.plugins["fakes"] == "mmask-fakes 0.0"


def test_demo_applies_only_without_data(host, tmp_path):
    sources = [{"url": "a.tar"}]
    assert resolve(host, recipe="fakes-tiny").profile == "demo"
    assert resolve(host, recipe="fakes-tiny", flags={"data.train": ("--data", sources)}).profile == ""
    assert resolve(host, recipe="fakes-tiny", profile="none").recipe.data.batch_size == 8
    path = toml(tmp_path, 'recipe = "fakes-tiny"\n[[data.train]]\nurl = "a.tar"\n')
    assert resolve(host, config=path).profile == ""
    with pytest.raises(UnknownNameError, match=r"no profile 'dmo' \(did you mean 'demo'\?\)"):
        resolve(host, recipe="fakes-tiny", profile="dmo")


def test_epochs_on_the_command_line_win_over_a_profiles_steps(host):
    made = resolve(host, recipe="fakes-tiny", flags={"schedule.epochs": ("--epochs", 3)})
    assert (made.recipe.schedule.steps, made.recipe.schedule.epochs) == (None, 3.0)
    assert made.origins["schedule.steps"] == "command line --epochs"
    made = resolve(host, recipe="fakes-tiny", overrides=["optim.base_lr=1e-3"])
    assert (made.recipe.optim.lr, made.recipe.optim.base_lr) == (None, 1e-3)
    both = resolve(host, recipe="fakes-tiny", overrides=["schedule.epochs=3", "schedule.steps=9"])
    assert both.recipe.schedule.steps == 9


def test_a_frozen_recipe_runs_again_to_the_same_values(host, tmp_path):
    first = resolve(
        host, recipe="fakes-tiny", overrides=["views.masked.plan=none", "optim.clip=1.0", "mask.ratio=0.3"]
    )
    path = tmp_path / "recipe.toml"
    write(first, path, host)
    for config in (path, tmp_path):
        again = resolve(host, config=config)
        assert again.recipe.model_dump(exclude={"profiles"}) == first.recipe.model_dump(exclude={"profiles"})
        assert again.profile == ""
    assert again.recipe.views["masked"].plan is None
    assert again.origins["mask.ratio"] == f"{path} (command line)"
    assert freeze(again).split("[origin]")[0] == freeze(first).split("[origin]")[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_frozen_recipe_can_be_changed_again(host, tmp_path):
    path = tmp_path / "recipe.toml"
    write(resolve(host, recipe="fakes-tiny"), path, host)
    made = resolve(host, config=path, flags={"schedule.epochs": ("--epochs", 2)})
    assert (made.recipe.schedule.steps, made.recipe.schedule.epochs) == (None, 2.0)


def test_none_takes_out_a_named_part_also_of_a_frozen_recipe(host, tmp_path):
    fake = '{use = "fake"}'
    other = f"objectives.more={{head = {fake}, target = {fake}, loss = {fake}}}"
    both = resolve(host, recipe="fakes-tiny", overrides=[other])
    assert list(both.recipe.objectives) == ["vectors", "more"]
    path = tmp_path / "recipe.toml"
    write(both, path, host)
    one = resolve(host, config=path, overrides=["objectives.vectors=none"])
    assert list(one.recipe.objectives) == ["more"]
    write(one, path, host)
    assert list(resolve(host, config=path).recipe.objectives) == ["more"]
    with pytest.raises(RecipeError, match=r"views\.nothing"):
        resolve(host, recipe="fakes-tiny", overrides=["views.nothing=none"])


def test_another_version_than_the_files_is_noted(host, tmp_path):
    path = tmp_path / "recipe.toml"
    write(resolve(host, recipe="fakes-tiny"), path, host)
    path.write_text(path.read_text().replace("mmask-fakes 0.0", "mmask-fakes 9.9"))
    notes = resolve(host, config=path).notes
    assert notes == (f"{path} was written with mmask-fakes 9.9, this is mmask-fakes 0.0",)


def test_a_whole_recipe_needs_no_plugin_recipe(host, tmp_path):
    text = freeze(resolve(host, recipe="fakes-tiny", profile="none")).split("[origin]")[0]
    made = resolve(host, config=toml(tmp_path, text.replace("fakes-tiny", "mine")))
    assert made.recipe.name == "mine"


@pytest.mark.parametrize(("override", "kind", "said"), [
    ("optim.lrr=1", UnknownNameError, "no key 'optim.lrr' (did you mean 'optim.lr'?)"),
    ("mask.ratioo=0.5", UnknownNameError, "masker 'fake' has no option 'ratioo' (did you mean 'mask.ratio'?)"),
    ("mask.ratio=abc", RecipeError, "mask.ratio = 'abc' does not fit masker 'fake'"),
    ("mask=fak", UnknownNameError, "mask: no masker named 'fak' (did you mean 'fake'?)"),
    ("networks.encodr.width=3", RecipeError, "networks has no 'encodr' (did you mean 'encoder'?)"),
    ("schedule.kind=cosin", RecipeError, "schedule.kind = 'cosin' (command line): must be 'cosine'"),
    ("schedule.kind=cosin", RecipeError, "(did you mean 'cosine'?)"),
    ("data.batch_size=0", RecipeError, "data.batch_size = 0 (command line): must be greater than 0"),
    ("optim.lr=none", RecipeError, "give optim.lr or optim.base_lr"),
    ("data.train=[{}]", RecipeError, "data.train.0.url is missing"),
    ("objectives.vectors.head.use=fakee", UnknownNameError, "objectives.vectors.head: no head named 'fakee'"),
    ("train.trackers=[{use = \"x\"}]", UnknownNameError, "train.trackers.0: no tracker named 'x'"),
])
def test_mistakes_name_the_key_the_value_and_the_nearest(host, override, kind, said):
    with pytest.raises(kind) as caught:
        resolve(host, recipe="fakes-tiny", overrides=[override])
    assert said in str(caught.value)


def test_an_unknown_recipe_names_the_nearest(host):
    with pytest.raises(UnknownNameError, match=r"no recipe named 'fake-tiny' \(did you mean 'fakes-tiny'\?\)"):
        resolve(host, recipe="fake-tiny")


def test_a_string_where_a_component_stands_changes_it(host):
    made = resolve(host, recipe="fakes-tiny", overrides=["views.masked.corrupt=drop"])
    assert made.recipe.views["masked"].corrupt.use == "drop"
    head = resolve(
        host, recipe="fakes-tiny", overrides=["networks.encoder.use=wide"], check=False
    )
    assert head.recipe.networks["encoder"].options() == {"width": 8}


def test_options_of_a_replaced_component_are_left_out_with_a_note():
    more = Component("masker", "plain", "mmask.testing.fakes:FakeTokenizer", "no ratio")
    host = Host([fakes.entry("fakes", more)], environ={})
    made = resolve(host, recipe="fakes-tiny", overrides=["mask=plain"])
    assert made.recipe.mask.options() == {}
    assert made.notes == ("mask.ratio was left out: masker 'plain' has no such option",)
    with pytest.raises(UnknownNameError, match="no option 'ratio'"):
        resolve(host, recipe="fakes-tiny", overrides=["mask=plain", "mask.ratio=0.3"])


def test_installing_a_plugin_with_the_same_names_does_not_break_a_recipe():
    host = Host([fakes.entry(), fakes.entry("guest")], environ={})
    with pytest.raises(NameClashError):
        resolve(host, recipe="fakes-tiny")
    made = resolve(host, recipe="fakes/fakes-tiny")
    assert made.recipe.mask.use == "fakes/fake"
    assert made.recipe.objectives["vectors"].loss.use == "fakes/fake"


@pytest.mark.parametrize(("text", "kind", "said"), [
    ("recipe = 3", RecipeError, "'recipe' must be a str"),
    ("[data\n", RecipeError, "is no TOML"),
    ("[data]\nbatch_size = 3\n", UsageError, "names none"),
    ('recipe = "fakes-tiny"\n[optim]\nlearning_rate = 1e-3\n', UnknownNameError, "no key 'optim.learning_rate'"),
    ('recipe = "fakes-tiny"\nunset = ["optim.lr"]\n', RecipeError, "give optim.lr"),
])
def test_mistakes_in_files_are_named(host, tmp_path, text, kind, said):
    with pytest.raises(kind) as caught:
        resolve(host, config=toml(tmp_path, text))
    assert said in str(caught.value)


def test_a_missing_file_and_no_recipe_at_all_say_what_to_give(host, tmp_path):
    with pytest.raises(UsageError, match="no file"):
        from_file(tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match="no recipe was named"):
        resolve(host)
    path = toml(tmp_path, 'recipe = "other"\n')
    with pytest.raises(UsageError, match="disagree"):
        resolve(host, recipe="fakes-tiny", config=path)


def test_a_recipe_that_cannot_be_made_names_its_plugin():
    bad = Component("recipe", "bad", "mmask.testing.fakes:batch", "makes a batch")
    host = Host([fakes.entry("fakes", bad)], environ={})
    with pytest.raises(PluginError, match=r"recipe 'bad' of plugin fakes \(mmask-fakes 0.0\) gave a Batch"):
        resolve(host, recipe="bad")
    ghost = Host([Entry("ghost", "no_such_module_anywhere", "mmask-ghost", "1"), fakes.entry()], environ={})
    with pytest.raises(UnknownNameError, match="may have provided it"):
        resolve(ghost, recipe="ghost-tiny")
