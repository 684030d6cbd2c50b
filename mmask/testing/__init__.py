"""The conformance kit for plugins: laws, checks, fakes and tiny shards. Nothing here is loaded by pytest itself.

    from mmask.testing import MaskerLaws, check_plugin

    def test_the_plugin_conforms():
        check_plugin("acme")

    class TestGapMasker(MaskerLaws):
        def make(self):
            return GapMasker(ratio=0.5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmask.testing.kit import check_plugin, check_recipe
    from mmask.testing.laws import MaskerLaws
    from mmask.testing.recipes import check_course, check_denominators, check_size
    from mmask.testing.runs import (
        build,
        component,
        export_run,
        import_run,
        mmask,
        outputs_of,
        recipe,
        subject,
        without_packages,
    )
    from mmask.testing.shards import tiny_shards

_TABLE = {
    "mmask.testing.laws": ("MaskerLaws",),
    "mmask.testing.kit": ("check_plugin", "check_recipe"),
    "mmask.testing.recipes": ("check_course", "check_denominators", "check_size"),
    "mmask.testing.runs": (
        "build", "component", "export_run", "import_run", "mmask", "outputs_of", "recipe", "subject",
        "without_packages",
    ),
    "mmask.testing.shards": ("tiny_shards",),
}

_HOME = {name: module for module, names in _TABLE.items() for name in names}

__all__ = [
    "MaskerLaws", "build", "check_course", "check_denominators", "check_plugin", "check_recipe", "check_size",
    "component", "export_run", "import_run", "mmask", "outputs_of", "recipe", "subject", "tiny_shards",
    "without_packages",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"mmask.testing has no '{name}'")
