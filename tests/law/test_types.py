"""What annotations say holds: mypy accepts the core and its plugins, and would notice if it did not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mmask", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("plugins/mmask-*/mmask_*")))
WRONG = """
from mmask.api import DataSection, Masker, PlanError

class Deaf:
    def plan(self, layout: int) -> int:
        return layout

masker: Masker = Deaf()
section = DataSection(batch_sise=8)
"""


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    cache = tmp_path_factory.mktemp("mypy")

    def run(*paths):
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(cache), *paths],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )

    return run


def test_every_package_is_typed_without_an_error(mypy):
    done = mypy(*PACKAGES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_planted_mistake_is_found(mypy, tmp_path):
    (tmp_path / "planted.py").write_text(WRONG)
    done = mypy(str(tmp_path / "planted.py"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'variable has type "Masker"' in done.stdout
    assert '"batch_sise" for "DataSection"' in done.stdout
    assert "Found 2 errors in 1 file" in done.stdout


def test_every_exception_says_its_code_and_why():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "# type: ignore" in line and "]  # " not in line.partition("# type: ignore[")[2]
    ]
    assert found == []
