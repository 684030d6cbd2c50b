"""mmask: pretrain encoders by hiding part of the input and predicting it, on any modality.

``import mmask`` is light: torch is imported when a model is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "create_model": "mmask.library",
    "load_recipe": "mmask.library",
    "list_recipes": "mmask.library",
    "load_run": "mmask.library",
}

__all__ = ["__version__", "create_model", "list_recipes", "load_recipe", "load_run"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mmask' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
