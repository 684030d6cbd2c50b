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
    from mmask.data.faults import read_ledger
    from mmask.testing.kit import check_claims, check_plugin, check_recipe
    from mmask.testing.laws import MaskerLaws
    from mmask.testing.ranks import on_ranks
    from mmask.testing.reading import batches, judged
    from mmask.testing.recipes import (
        check_certificate,
        check_course,
        check_denominators,
        check_size,
        check_units,
    )
    from mmask.testing.runs import (
        build,
        compared,
        component,
        export_run,
        import_run,
        mmask,
        outputs_of,
        recipe,
        subject,
        through_checkpoint,
        without_packages,
    )
    from mmask.testing.shards import tiny_shards
    from mmask.train.optim import layer_shares
    from mmask.train.units import checkpoint_units

_TABLE = {
    "mmask.data.faults": ("read_ledger",),
    "mmask.testing.laws": ("MaskerLaws",),
    "mmask.testing.kit": ("check_claims", "check_plugin", "check_recipe"),
    "mmask.testing.ranks": ("on_ranks",),
    "mmask.testing.reading": ("batches", "judged"),
    "mmask.testing.recipes": (
        "check_certificate", "check_course", "check_denominators", "check_size", "check_units",
    ),
    "mmask.testing.runs": (
        "build", "compared", "component", "export_run", "import_run", "mmask", "outputs_of", "recipe", "subject",
        "through_checkpoint", "without_packages",
    ),
    "mmask.testing.shards": ("tiny_shards",),
    "mmask.train.optim": ("layer_shares",),
    "mmask.train.units": ("checkpoint_units",),
}

_HOME = {name: module for module, names in _TABLE.items() for name in names}

__all__ = [
    "MaskerLaws", "batches", "build", "check_certificate", "check_claims", "check_course", "check_denominators",
    "check_plugin", "check_recipe", "check_size", "check_units", "checkpoint_units", "compared", "component",
    "export_run", "import_run", "judged", "layer_shares", "mmask", "on_ranks", "outputs_of", "read_ledger", "recipe",
    "subject", "through_checkpoint", "tiny_shards", "without_packages",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"mmask.testing has no '{name}'")
