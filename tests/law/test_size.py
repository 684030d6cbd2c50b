"""Files and functions stay small. The lists of exceptions may shrink and never grow."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE, HARD, FUNCTION = 300, 400, 40
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
BANNED = ("utils.py", "helpers.py", "common.py", "misc.py", "util.py", "helper.py")


def sources():
    for folder in ("mmask", "plugins", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(part in ("tests", "build", "dist", ".venv") for part in path.parts):
                yield path


def functions(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1


def test_files_are_short():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert {name for name, length in lengths.items() if length > FILE} == LONG_FILES
    assert max(lengths.values()) <= HARD


def test_functions_are_short():
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for path in sources() for name, length in functions(path) if length > FUNCTION
    }
    assert found == LONG_FUNCTIONS


def test_no_file_is_a_drawer():
    assert [path for path in sources() if path.name in BANNED] == []
