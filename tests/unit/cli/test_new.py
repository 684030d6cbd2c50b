"""``mmask new plugin``: every trace of the template's own name is replaced."""

from __future__ import annotations

import ast
import tomllib

import pytest

from mmask.cli.main import run
from mmask.cli.new import renamed, template


@pytest.mark.parametrize("name", ["acme", "acme-b"])
def test_a_plugin_is_written_under_its_own_name(tmp_path, name):
    folder, module = tmp_path / "p", name.replace("-", "_")
    assert run(["new", "plugin", name, "--into", str(folder)]) == 0
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == f"mmask-{name}"
    assert project["project"]["entry-points"]["mmask.v1"] == {name: f"mmask_{module}.plugin"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert "example" not in str(path.relative_to(folder))
        if path.suffix == ".py":
            ast.parse(path.read_text())
        if path.suffix != ".tar":
            assert "example" not in path.read_text()
    tars = sorted(path.name for path in files if path.suffix == ".tar")
    assert tars == ["train-000.tar", "val-000.tar"]
    written = next(path for path in files if path.name == "train-000.tar").read_bytes()
    assert written == (template() / "mmask_example" / "samples" / "train-000.tar").read_bytes()


def test_names_fit_their_place():
    text = "mmask_example example_tiny mmask-example example-tiny"
    assert renamed(text, "a-b") == "mmask_a_b a_b_tiny mmask-a-b a-b-tiny"


@pytest.mark.parametrize("name", ["Big", "core", "example", "1st", "a--b", "a_b", ""])
def test_names_that_cannot_be_plugins_are_refused(tmp_path, name, capsys):
    assert run(["new", "plugin", name, "--into", str(tmp_path / "p")]) == 2
    assert "cannot be a plugin's name" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").write_text("dear")
    assert run(["new", "plugin", "acme", "--into", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
