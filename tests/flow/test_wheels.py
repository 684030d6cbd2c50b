"""The wheels hold everything that a user needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_wheels_install_and_train_away_from_the_source_tree() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_wheels.py")], text=True, capture_output=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wheels work" in done.stdout
