"""Three plugins, really installed: a good one, one that fails at import, one with a misspelt hook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROJECT = """
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"
[project]
name = "mmask-{name}"
version = "0.3"
[project.entry-points."mmask.v1"]
{name} = "mmask_{name}"
[tool.hatch.build.targets.wheel]
packages = ["mmask_{name}"]
"""
_SICK = '"""Needs what is not there."""\nimport a_library_nobody_has\n'
_TYPO = '''"""A misspelt hook."""
from mmask.api import hookimpl


@hookimpl
def mmask_componnets():
    return ()
'''


def write(folder: Path, name: str, module: str) -> Path:
    package = folder / name / f"mmask_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(module)
    (package.parent / "pyproject.toml").write_text(_PROJECT.format(name=name))
    return package.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that the three are installed into, with their metadata."""
    folder = tmp_path_factory.mktemp("three")
    made = mmask(folder, None, "new", "plugin", "good", "--into", str(folder / "good"))
    assert made.returncode == 0, made.stderr
    packages = [folder / "good", write(folder, "sick", _SICK), write(folder, "typo", _TYPO)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(folder / "site"), *map(str, packages)],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def mmask(folder, site, *args, timeout=200, **environ):
    paths = [str(site)] if site else []
    paths += [path for path in (os.environ.get("PYTHONPATH"),) if path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **environ}
    return subprocess.run(
        [sys.executable, "-m", "mmask", *args], cwd=folder, env=env, capture_output=True, text=True,
        timeout=timeout, check=False,
    )


def test_help_works_and_says_one_line(place):
    done = mmask(place, place / "site", "--help")
    assert done.returncode == 0
    assert "train" in done.stdout
    assert done.stderr.splitlines() == ["mmask: could not load sick, typo: see mmask plugins"]


def test_plugins_shows_the_state_and_reason_of_each(place):
    done = mmask(place, place / "site", "plugins")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert "mmask-good" in rows["good"]
    assert " ready " in rows["good"]
    assert "ModuleNotFoundError: No module named 'a_library_nobody_has'" in rows["sick"]
    assert "unknown hook 'mmask_componnets' (did you mean 'mmask_components'?)" in rows["typo"]
    assert done.stderr == ""


def test_one_plugin_shows_its_whole_traceback(place):
    done = mmask(place, place / "site", "plugins", "sick")
    assert done.returncode == 0
    assert "Traceback (most recent call last)" in done.stdout
    assert "import a_library_nobody_has" in done.stdout


def test_doctor_names_both_and_exits_with_one(place):
    done = mmask(place, place / "site", "doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("WRONG  plugin sick (mmask-sick 0.3): broken") for line in lines)
    assert any(line.startswith("WRONG  plugin typo (mmask-typo 0.3): broken") for line in lines)
    assert any(line.startswith("ok     components of good: 6 of 6") for line in lines)
    healthy = mmask(place, place / "site", "doctor", MMASK_BLOCK="sick,typo")
    assert healthy.returncode == 0, healthy.stdout


def test_a_name_that_is_not_found_names_the_broken_plugins(place):
    done = mmask(place, place / "site", "recipe", "show", "good-tny")
    assert done.returncode == 3
    assert "no recipe named 'good-tny' (did you mean 'good-tiny'?)" in done.stderr
    assert "2 plugins could not be loaded and may have provided it:" in done.stderr
    assert "sick (mmask-sick 0.3): ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_of_a_broken_plugin_stops_with_its_cause(place):
    done = mmask(place, place / "site", "plan", "--recipe", "sick/anything")
    assert done.returncode == 4
    assert "plugin sick (mmask-sick 0.3) is broken: ModuleNotFoundError" in done.stderr
    traced = mmask(place, place / "site", "plan", "--recipe", "sick/anything", MMASK_TRACEBACK="1")
    assert "import a_library_nobody_has" in traced.stderr


def test_strict_makes_the_broken_fatal(place):
    done = mmask(place, place / "site", "recipe", "show", "good-tiny", MMASK_STRICT="1")
    assert done.returncode == 4
    assert "is broken" in done.stderr


def test_the_good_ones_own_tests_pass(place):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place / "site"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(place / "good" / "tests")],
        cwd=place, env={**env, "MMASK_BLOCK": "sick,typo"}, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_training_with_the_good_one_works(place):
    done = mmask(
        place, place / "site", "train", "--recipe", "good-tiny", "--steps", "4", "--log-every", "1",
        "--device", "cpu", "--out", str(place / "run"), "train.trackers=[]",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (place / "run" / "recipe.toml").is_file()
    rows = (place / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) >= 4
    assert "could not be loaded" in done.stderr
