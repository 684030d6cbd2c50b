"""Start-up is light: help without torch, manifests without weight, and every module alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mmask
from mmask.testing.kit import HEAVY, check_light

ROOT = Path(mmask.__file__).parent
LIMIT = 0.5


def python(code, *args):
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)


_HELP = """
import sys, time
start = time.perf_counter()
from mmask.cli.main import run
code = run(sys.argv[2:])
print(code, time.perf_counter() - start, *[m for m in sys.argv[1].split(",") if m in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["recipes"], ["plugins"], ["recipe", "--help"]])
def test_light_commands_import_nothing_heavy(args):
    done = python(_HELP, ",".join(HEAVY), *args)
    code, _, *heavy = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    assert heavy == []


def test_help_is_quick():
    seconds = min(float(python(_HELP, "", "--help").stderr.split()[-1]) for _ in range(3))
    assert seconds < LIMIT


def test_import_mmask_is_light():
    code = "import sys, mmask; print([m for m in sys.argv[1].split(',') if m in sys.modules], dir(mmask))"
    done = python(code, ",".join((*HEAVY, "numpy", "pydantic", "click")))
    assert done.stdout.startswith("[] ")


@pytest.mark.parametrize("point", metadata.entry_points(group="mmask.v1"), ids=lambda point: point.name)
def test_every_installed_manifest_is_light(point):
    check_light(point.value)


def test_the_cores_manifest_is_light():
    check_light("mmask.builtin")


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        if "template" not in path.parts and path.name != "__main__.py":
            name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__")


_ALONE = """
import os, sys, importlib
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:  # a fresh copy of this process, in which no module of mmask is loaded
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(name, type(error).__name__, error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(*failed)
"""


def test_every_module_can_be_imported_alone():
    code = "import torch, numpy, pydantic, click\n" + _ALONE  # loaded once: only mmask's own order is tested
    names = list(modules())
    assert len(names) > 50
    done = python(code, *names)
    assert done.stdout.split() == [], done.stderr


@pytest.mark.parametrize("name", ["mmask.types", "mmask.errors", "mmask.keyed", "mmask.api", "mmask.cli.main",
                                  "mmask.plugin.host", "mmask.recipe.resolve", "mmask.recipe.freeze"])
def test_modules_reachable_from_the_command_line_leave_torch_out(name):
    done = python("import sys, importlib; importlib.import_module(sys.argv[1]); print('torch' in sys.modules)", name)
    assert done.stdout.strip() == "False", done.stderr


def test_nothing_is_unpickled():
    """No call of pickle, torch.load without weights_only, or numpy.load with allow_pickle, in core or plugin."""
    found = []
    for path in sorted([*ROOT.rglob("*.py"), *(ROOT.parent / "plugins").rglob("mmask_*/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                text = ast.unparse(node.func)
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                loads = text in ("pickle.load", "pickle.loads", "joblib.load", "dill.load")
                loads |= text == "torch.load" and given.get("weights_only") != "True"
                loads |= text in ("np.load", "numpy.load") and given.get("allow_pickle") != "False"
                if loads:
                    found.append(f"{path.name}:{node.lineno} {text}")
    assert found == []
