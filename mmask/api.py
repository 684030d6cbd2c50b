"""The only door for plugins: everything a plugin may import from mmask.

Names are loaded on first use, so a manifest that imports ``Component`` and ``hookimpl`` stays light. To offer
another name, add it to the row of its module; ``tests/law/api.txt`` keeps the list.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmask.plugin.component import Component
from mmask.plugin.spec import hookimpl

if TYPE_CHECKING:
    from mmask.data.source import open_source  # noqa: F401
    from mmask.errors import *  # noqa: F403
    from mmask.evaluate.finetune import FineTune  # noqa: F401
    from mmask.evaluate.weighted import LayerSum, WeightedLayers  # noqa: F401
    from mmask.export.copying import copy_halves, copy_parts  # noqa: F401
    from mmask.export.reading import read_safetensors, read_tensors  # noqa: F401
    from mmask.heads.decoder import TransformerDecoder  # noqa: F401
    from mmask.heads.linear import LinearHead, StatesHead  # noqa: F401
    from mmask.heads.pooled import PooledHead  # noqa: F401
    from mmask.keyed import Keys, fold, seeded_scope, single  # noqa: F401
    from mmask.layers.attention import Rule, attend  # noqa: F401
    from mmask.layers.block import Block, key_bias, run_block  # noqa: F401
    from mmask.layers.cross import CrossLayer, CrossStack  # noqa: F401
    from mmask.layers.distance import alibi_slopes, rotary_tables  # noqa: F401
    from mmask.layers.embed import Embeddings  # noqa: F401
    from mmask.layers.gather import fill, fill_index, flat_index, take_places  # noqa: F401
    from mmask.layers.linear import linear, product  # noqa: F401
    from mmask.layers.places import rows_at, states_at  # noqa: F401
    from mmask.layers.positions import resize_positions, sincos, sinusoid  # noqa: F401
    from mmask.layers.ranks import across_ranks  # noqa: F401
    from mmask.layers.segments import Segments  # noqa: F401
    from mmask.layers.transformer import ACTIVATIONS, LayerParts, StackParts, Transformer  # noqa: F401
    from mmask.library import load_run  # noqa: F401
    from mmask.loss.weighing import weighed  # noqa: F401
    from mmask.mask.partners import partners  # noqa: F401
    from mmask.observe.sheet import StoredSheet  # noqa: F401
    from mmask.protocols import *  # noqa: F403
    from mmask.recipe.schema import *  # noqa: F403
    from mmask.tokenize.grid import grid_shape, patchify, unpatchify  # noqa: F401
    from mmask.train.model import MaskedModel, PlanMaker, ViewMaker  # noqa: F401
    from mmask.train.objective import MaskedObjective  # noqa: F401
    from mmask.train.pairs import Belongs, PairScores, every_pair  # noqa: F401
    from mmask.train.preview import preview_scene  # noqa: F401
    from mmask.train.program import Program, Task  # noqa: F401
    from mmask.types import *  # noqa: F403

API_VERSION = 1

_TABLE = {
    "mmask.errors": (
        "CheckpointError", "DataError", "ExportError", "MmaskError", "PlanError", "PluginError",
        "RecipeError", "SampleError", "UnknownNameError", "UsageError", "did_you_mean",
    ),
    "mmask.keyed": ("Keys", "fold", "seeded_scope", "single"),
    "mmask.types": (
        "Action", "Batch", "Encoded", "Judged", "Labelled", "Layout", "Losses", "MaskPlan", "Prediction", "Record",
        "Sample", "SampleId", "Scored", "Share", "Target", "TargetSource", "Term", "Tokens", "Verdict",
        "View", "Visibility",
    ),
    "mmask.protocols": (
        "Corruption", "Decoder", "Encoder", "Evaluator", "Exporter", "Head", "Loss", "Masker", "Objective",
        "Packer", "PairScorer", "Plans", "Preview", "Scene", "ScoredMasker", "Subject", "TargetMaker", "Tokenizer",
        "Tracker", "TwoSided", "WeightsFormat", "WholeModel",
    ),
    "mmask.recipe.schema": (
        "DataSection", "NetworkSection", "ObjectiveSection", "OptimSection", "PackSection", "ProbeSection",
        "ProgramSection", "Recipe", "ScheduleSection", "Source", "Spec", "TaskSection", "TrainSection",
        "ViewSection", "use",
    ),
    "mmask.data.source": ("open_source",),
    "mmask.loss.weighing": ("weighed",),
    "mmask.mask.partners": ("partners",),
    "mmask.tokenize.grid": ("grid_shape", "patchify", "unpatchify"),
    "mmask.layers.positions": ("resize_positions", "sincos", "sinusoid"),
    "mmask.layers.embed": ("Embeddings",),
    "mmask.layers.gather": ("fill", "fill_index", "flat_index", "take_places"),
    "mmask.layers.places": ("rows_at", "states_at"),
    "mmask.layers.block": ("Block", "key_bias", "run_block"),
    "mmask.layers.cross": ("CrossLayer", "CrossStack"),
    "mmask.layers.linear": ("linear", "product"),
    "mmask.export.copying": ("copy_halves", "copy_parts"),
    "mmask.export.reading": ("read_safetensors", "read_tensors"),
    "mmask.layers.attention": ("Rule", "attend"),
    "mmask.layers.distance": ("alibi_slopes", "rotary_tables"),
    "mmask.layers.segments": ("Segments",),
    "mmask.layers.transformer": ("ACTIVATIONS", "LayerParts", "StackParts", "Transformer"),
    "mmask.heads.decoder": ("TransformerDecoder",),
    "mmask.heads.linear": ("LinearHead", "StatesHead"),
    "mmask.heads.pooled": ("PooledHead",),
    "mmask.train.objective": ("MaskedObjective",),
    "mmask.train.model": ("MaskedModel", "PlanMaker", "ViewMaker"),
    "mmask.train.pairs": ("Belongs", "PairScores", "every_pair"),
    "mmask.observe.sheet": ("StoredSheet",),
    "mmask.train.preview": ("preview_scene",),
    "mmask.train.program": ("Program", "Task"),
    "mmask.layers.ranks": ("across_ranks",),
    "mmask.evaluate.finetune": ("FineTune",),
    "mmask.evaluate.weighted": ("LayerSum", "WeightedLayers"),
    "mmask.library": ("load_run",),
}

_HOME = {name: module for module, names in _TABLE.items() for name in names}

__all__ = ["API_VERSION", "Component", "hookimpl", *sorted(_HOME)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"mmask.api has no '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
