"""The only door for plugins: everything a plugin may import from mmask.

Names are loaded on first use, so a manifest that imports ``Component`` and ``hookimpl`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmask.plugin.component import Component
from mmask.plugin.spec import hookimpl

if TYPE_CHECKING:
    from mmask.errors import *  # noqa: F403
    from mmask.keyed import Keys, fold, seeded_scope  # noqa: F401
    from mmask.heads.decoder import TransformerDecoder  # noqa: F401
    from mmask.layers.block import key_bias, run_block  # noqa: F401
    from mmask.layers.gather import fill, fill_index, flat_index, take_places  # noqa: F401
    from mmask.layers.places import rows_at, states_at  # noqa: F401
    from mmask.layers.positions import resize_positions, sincos  # noqa: F401
    from mmask.protocols import *  # noqa: F403
    from mmask.recipe.schema import *  # noqa: F403
    from mmask.tokenize.grid import grid_shape, patchify, unpatchify  # noqa: F401
    from mmask.train.model import MaskedModel, PlanMaker, ViewMaker  # noqa: F401
    from mmask.train.objective import MaskedObjective  # noqa: F401
    from mmask.types import *  # noqa: F403

API_VERSION = 1

_HOME: dict[str, str] = {}


def _home(module: str, names: str) -> None:
    _HOME.update(dict.fromkeys(names.split(), module))


_home("mmask.errors", """MmaskError UsageError RecipeError UnknownNameError PluginError DataError SampleError
      PlanError ExportError CheckpointError did_you_mean""")
_home("mmask.keyed", "Keys fold seeded_scope single")
_home("mmask.types", """Action Batch Encoded Layout Losses MaskPlan Prediction Sample SampleId Scored Target
      TargetSource Term Tokens View Visibility""")
_home("mmask.protocols", """Corruption Decoder Encoder Head Loss Masker Objective Packer Plans Preview Scene
      ScoredMasker TargetMaker Tokenizer Tracker WeightsFormat""")
_home("mmask.recipe.schema", """DataSection NetworkSection ObjectiveSection OptimSection ProgramSection Recipe
      ScheduleSection Source Spec TaskSection TrainSection ViewSection use""")
_home("mmask.tokenize.grid", "grid_shape patchify unpatchify")
_home("mmask.layers.positions", "resize_positions sincos")
_home("mmask.layers.gather", "fill fill_index flat_index take_places")
_home("mmask.layers.places", "rows_at states_at")
_home("mmask.layers.block", "key_bias run_block")
_home("mmask.heads.decoder", "TransformerDecoder")
_home("mmask.train.objective", "MaskedObjective")
_home("mmask.train.model", "MaskedModel PlanMaker ViewMaker")
_home("mmask.train.program", "Program Task")

__all__ = ["API_VERSION", "Component", "hookimpl", *sorted(_HOME)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"mmask.api has no '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
