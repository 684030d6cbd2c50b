"""docs/cli.md shows the help that the commands give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_about_the_command_line_is_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "cli_docs.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_exit_code_is_documented():
    from mmask import errors

    page = (ROOT / "docs" / "cli.md").read_text()
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.MmaskError):
            assert f"| {value.exit_code} |" in page, value.__name__
    assert f"| {errors.EXIT_PREEMPTED} |" in page
