"""Documentation examples run.

In every Markdown page, ``python`` blocks of one page run in order in one process, and the ``$`` lines of
``console`` blocks run in a shell; both must succeed. Blocks in other languages are shown, not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")]
)
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.M | re.S)


def script(page: Path) -> str:
    """One Python program that runs a page's examples in order."""
    lines = ["import subprocess as _subprocess"]
    for language, body in BLOCK.findall(page.read_text()):
        if language == "python":
            lines.append(body)
            continue
        for command in re.findall(r"^\$ ((?:.*\\\n)*.*)", body, re.M):
            lines.append(f"_subprocess.run({command!r}, shell=True, check=True)")
    return "\n".join(lines)


def pages_with_examples() -> list[Path]:
    return [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", pages_with_examples(), ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    env = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        [sys.executable, "-c", script(page)], cwd=tmp_path, env=env, text=True, timeout=400,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{page.relative_to(ROOT)}:\n{done.stdout[-4000:]}"


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)} -> {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert not broken, broken
