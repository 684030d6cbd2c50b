"""Names inside a recipe are checked before anything is built: none is ignored, none fails in the first step."""

from __future__ import annotations

import pytest

from mmask.errors import RecipeError
from mmask.plugin.host import Host
from mmask.recipe.schema import ViewSection
from mmask.testing import fakes
from mmask.train.build import build_model
from mmask.train.names import check_names


@pytest.mark.parametrize(("change", "said"), [
    (lambda r: setattr(r, "exports", "encodr"),
     "exports = 'encodr': no network of that name (did you mean 'encoder'?)"),
    (lambda r: setattr(r.views["masked"], "of", "claen"), "views.masked.of = 'claen': no view of that name"),
    (lambda r: setattr(r.views["masked"], "of", "masked"), "masked of masked never ends at 'clean'"),
    (lambda r: setattr(r.views["masked"], "plan", "maks"), "views.masked.plan = 'maks': no plan of that name"),
    (lambda r: setattr(r.views["masked"], "streams", ["y"]), "views.masked.streams = 'y': no stream of that name"),
    (lambda r: setattr(r.objectives["vectors"], "network", "net"), "objectives.vectors.network = 'net'"),
    (lambda r: setattr(r.objectives["vectors"], "view", "maskd"), "did you mean 'masked'?"),
    (lambda r: setattr(r.objectives["vectors"], "stream", "y"), "objectives.vectors.stream = 'y'"),
    (lambda r: setattr(r.objectives["vectors"], "options", {"foo": 1}), "options.foo: objective 'masked' takes no"),
    (lambda r: r.views.update(clean=ViewSection()), "'clean' is the view nothing was done to"),
    (lambda r: r.networks.update(values=r.networks["encoder"]), "torch keeps this name"),
])
def test_a_name_that_nothing_has_is_told_with_its_key(change, said):
    recipe = fakes.tiny()
    check_names(recipe)
    change(recipe)
    with pytest.raises(RecipeError) as caught:
        build_model(recipe, Host([fakes.entry()], environ={}))
    assert said in str(caught.value)


def test_two_views_that_make_each_other_are_refused():
    recipe = fakes.tiny()
    recipe.views["a"], recipe.views["b"] = ViewSection(of="b"), ViewSection(of="a")
    with pytest.raises(RecipeError, match="never ends at 'clean'"):
        check_names(recipe)


def test_the_group_of_the_data_binds_the_model_and_its_batches():
    recipe = fakes.tiny()
    recipe.data.group = 4
    model = build_model(recipe, Host([fakes.entry()], environ={}))
    assert model.group == 4
    model.check_split(8, ranks=2)
    with pytest.raises(RecipeError, match="whole groups of 4"):
        model.check_split(8, ranks=4)
