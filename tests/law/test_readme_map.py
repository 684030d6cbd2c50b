"""The README's map of the tree is the tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_map_in_the_readme_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/tree.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
