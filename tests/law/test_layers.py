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
