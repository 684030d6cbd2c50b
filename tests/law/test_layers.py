"""Who may import whom: the contracts in pyproject.toml hold, and they can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(config, folder):
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(config), "--no-cache"],
        cwd=folder, capture_output=True, text=True, check=False,
    )


def test_the_layers_hold():
    done = lint(ROOT / "pyproject.toml", ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(("place", "line"), [
    ("mmask/heads/planted.py", "import mmask.loss"),
    ("mmask/mask/planted.py", "import mmask.train"),
    ("mmask/train/planted.py", "import mmask_image"),
    ("plugins/mmask-image/mmask_image/planted.py", "from mmask.types import Batch"),
])
def test_a_planted_import_is_found(tmp_path, place, line):
    import os
    import shutil

    packages = sorted(ROOT.glob("plugins/mmask-*/mmask_*"))
    for name in ("mmask", *(path.relative_to(ROOT) for path in packages)):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.tar", "__pycache__"))
    (tmp_path / place).write_text(line + "\n")
    paths = os.pathsep.join([str(tmp_path), *(str(tmp_path / path.parent.relative_to(ROOT)) for path in packages)])
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", str(ROOT / "pyproject.toml"), "--no-cache"], cwd=tmp_path,
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 kept, 1 broken" in done.stdout


def foreign(tests):
    """(file, module) of every import of mmask in a plugin's tests that is not public."""
    import ast

    found = []
    for path in sorted(tests.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
                if node.module == "mmask":  # ``from mmask import export`` reaches a module, ``load_run`` a function
                    names = [alias.name for alias in node.names]
                    core = ROOT / "mmask"
                    modules = [f"mmask.{n}" for n in names if (core / n).is_dir() or (core / f"{n}.py").is_file()]
            parts = [module.split(".") for module in modules]
            found += [
                (path.name, ".".join(part)) for part in parts
                if part[0] == "mmask" and len(part) > 1 and part[1] not in ("api", "testing")
            ]
    return found


@pytest.mark.parametrize("plugin", sorted(path.parent.name for path in ROOT.glob("plugins/*/tests")))
def test_plugins_are_tested_through_the_public_door(plugin):
    """What a plugin's tests need of mmask is in mmask.api, in mmask.testing or in ``mmask`` itself."""
    assert foreign(ROOT / "plugins" / plugin / "tests") == []


@pytest.mark.parametrize(("line", "module"), [
    ("from mmask.train.build import build_model", "mmask.train.build"), ("import mmask.cli.main", "mmask.cli.main"),
    ("def test():\n    from mmask import export", "mmask.export"),
])
def test_a_planted_import_in_a_plugins_tests_is_found(tmp_path, line, module):
    fine = "import mmask\nfrom mmask.api import Batch\nfrom mmask import load_run\n"
    (tmp_path / "test_a.py").write_text(f"{fine}{line}\n")
    assert foreign(tmp_path) == [("test_a.py", module)]


def test_the_core_names_no_modality():
    """Words of one modality do not name things in the core: they belong to plugins."""
    import ast

    words = ("image", "audio", "video", "pixel", "jpeg", "spectrogram", "imagenet", "wave")
    found = []
    for path in sorted((ROOT / "mmask").rglob("*.py")):
        if path.parts[-2] in ("testing",):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(word in node.name.lower() for word in words):
                found.append(f"{path.name}: {node.name}")
    assert found == []
