"""What plugins may import is written down; a change of the list is a change of the file."""

from __future__ import annotations

import inspect
from pathlib import Path

import mmask
from mmask import api

SNAPSHOT = Path(__file__).with_name("api.txt")


def described():
    """One line a name: a function with its parameters, a class, a value."""
    for name in sorted(api.__all__):
        value = getattr(api, name)
        if inspect.isfunction(value):
            yield f"{name}({', '.join(inspect.signature(value).parameters)})"
        else:
            yield f"class {name}" if inspect.isclass(value) else f"{name}"


def test_the_public_names_are_those_written_down():
    now, written = list(described()), SNAPSHOT.read_text().splitlines()
    assert now == written, "mmask.api changed: write it to tests/law/api.txt and to the changelog"


def test_every_public_name_can_be_imported_and_is_documented():
    for name in api.__all__:
        value = getattr(api, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
    assert set(dir(api)) == set(api.__all__)


def test_the_table_of_the_api_is_a_literal():
    """Tools and readers can see it without running it."""
    import ast

    for node in ast.parse(Path(api.__file__).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_TABLE":
            assert set(ast.literal_eval(node.value)) == set(api._HOME.values())
            return
    raise AssertionError("mmask.api has no _TABLE")


def test_the_package_offers_its_four_names_lazily():
    assert set(mmask.__all__) == {"__version__", "create_model", "list_recipes", "load_recipe", "load_run"}
    for name in mmask.__all__:
        assert getattr(mmask, name)
