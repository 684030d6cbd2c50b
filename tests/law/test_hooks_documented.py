"""Every hook stands in docs/hooks.md as spec.py has it, and nothing else does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from mmask.plugin import spec

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
HOOKS = {name: value for name, value in vars(spec).items() if name.startswith("mmask_")}


def test_every_hook_is_documented_with_its_arguments_and_its_sentence():
    for name, hook in HOOKS.items():
        call = f"{name}({', '.join(inspect.signature(hook).parameters)})"
        assert f"`{call}`" in PAGE, f"docs/hooks.md has no `{call}`"
        first = " ".join(inspect.getdoc(hook).split()).partition(". ")[0].rstrip(".")
        assert first in " ".join(PAGE.split()), f"docs/hooks.md says something else of {name}"


def test_no_hook_is_documented_that_does_not_exist():
    assert set(re.findall(r"`(mmask_\w+)\(", PAGE)) == set(HOOKS)


def test_every_hook_has_a_caller():
    from mmask.plugin import hooks, quarantine

    text = inspect.getsource(hooks) + inspect.getsource(quarantine)
    assert [name for name in HOOKS if name not in text] == []
