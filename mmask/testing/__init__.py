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
    from mmask.testing.shards import tiny_shards

_HOME = {
    "MaskerLaws": "mmask.testing.laws",
    "check_plugin": "mmask.testing.kit",
    "check_recipe": "mmask.testing.kit",
    "tiny_shards": "mmask.testing.shards",
}

__all__ = ["MaskerLaws", "check_plugin", "check_recipe", "tiny_shards"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"mmask.testing has no '{name}'")
