"""Every recipe of every installed plugin: size, plans, denominators; of every family one that trains and exports.

A plugin says what it expects in ``plugins/NAME/tests/recipes.toml``: ``[sizes]`` maps a recipe to the parameters it
trains at full size, ``[course.RECIPE]`` may give ``overrides``, export ``formats``, and
``units = false`` where no network has blocks. Certificates lie in the plugin.
"""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mmask.errors import RecipeError
from mmask.library import plugins
from mmask.testing import check_certificate, check_course, check_denominators, check_size, check_units

ROOT = Path(__file__).parents[2]


def ours():
    """Claims of recipes whose code lies in this project; others are their own authors' concern."""
    for claim in plugins().claims("recipe", tolerant=True):
        spec = find_spec(claim.component.target.partition(".")[0].partition(":")[0])
        if spec is not None and spec.origin and ROOT in Path(spec.origin).parents:
            yield claim


def table(claim):
    spec = find_spec(claim.component.target.partition(".")[0].partition(":")[0])
    path = Path(spec.origin).parents[1] / "tests" / "recipes.toml"
    return tomllib.loads(path.read_text()) if path.is_file() else {}


CLAIMS = sorted(ours(), key=lambda claim: claim.qualified)
TABLES = {claim.plugin.name: table(claim) for claim in CLAIMS}


def size(claim):
    return TABLES[claim.plugin.name].get("sizes", {}).get(claim.component.name)


def courses():
    """The smallest recipe of every module, and those that a table names."""
    families = {}
    for claim in CLAIMS:
        families.setdefault(claim.component.target.partition(":")[0], []).append(claim)
    chosen = {min(f, key=lambda c: (size(c) or float("inf"), "tiny" not in c.component.name)).qualified: None
              for f in families.values()}
    for claim in CLAIMS:
        if claim.qualified in chosen or claim.component.name in TABLES[claim.plugin.name].get("course", {}):
            yield claim


COURSES = list(courses())


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def told(claim, key, default=()):
    return TABLES[claim.plugin.name].get("course", {}).get(claim.component.name, {}).get(key, default)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.qualified)
def test_it_builds_at_full_size_with_the_papers_parameters(claim):
    if size(claim) is None:
        from mmask.testing import check_recipe

        found = sum(p.numel() for p in check_recipe(claim.qualified).parameters() if p.requires_grad)
        pytest.fail(f"[sizes] of {claim.plugin.name}'s tests/recipes.toml lacks: {claim.component.name} = {found:_}")
    check_size(claim.qualified, size(claim))


@pytest.mark.parametrize("claim", COURSES, ids=lambda claim: claim.qualified)
def test_plans_and_denominators_of_a_small_batch(claim):
    check_denominators(claim.qualified, told(claim, "overrides"))


@pytest.mark.parametrize("claim", COURSES, ids=lambda claim: claim.qualified)
def test_blocks_are_computed_again_with_the_same_gradients(claim):
    if not told(claim, "units", True):
        with pytest.raises(RecipeError, match="names its units"):
            check_units(claim.qualified, told(claim, "overrides"))
        return
    assert check_units(claim.qualified, told(claim, "overrides"))


@pytest.mark.parametrize("claim", COURSES, ids=lambda claim: claim.qualified)
def test_two_steps_resume_to_the_bit_and_export(claim, tmp_path):
    formats = told(claim, "formats", ("safetensors",))
    check_course(claim.qualified, tmp_path, told(claim, "overrides"), formats=formats)


@pytest.mark.parametrize("claim", COURSES, ids=lambda claim: claim.qualified)
def test_the_first_steps_are_those_of_its_certificate(claim):
    check_certificate(claim.qualified)


def test_tables_name_recipes_that_exist():
    known = {claim.component.name for claim in CLAIMS}
    named = {name for told in TABLES.values() for part in ("sizes", "course") for name in told.get(part, {})}
    assert named <= known
