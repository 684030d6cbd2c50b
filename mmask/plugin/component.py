"""Component: a plugin's claim that it has something, without importing it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmask.errors import PluginError

KINDS = (
    "recipe", "dataset", "decoder", "tokenizer", "masker", "corruption", "encoder", "target", "head",
    "loss", "objective", "evaluator", "exporter", "weights", "packer", "preview", "tracker", "command",
)

FORMATS = ("exporter", "weights")
"""Kinds whose names are formats: every plugin may have the same one for networks of its own."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True)
class Component:
    """``Component("masker", "block", "mmask_image.block:BlockMasker", "BEiT's blocks of patches")``.

    kind: one of `KINDS`. name: lower case, digits, dots and dashes. target: ``module:attribute``, imported
    when the component is built. summary: one line for listings.
    """

    kind: str
    name: str
    target: str
    summary: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PluginError(f"component kind '{self.kind}' is unknown; kinds are {', '.join(KINDS)}")
        if not _NAME.fullmatch(self.name):
            raise PluginError(f"component name '{self.name}' must be lower case letters, digits, '.', '_' or '-'")
        if not _TARGET.fullmatch(self.target):
            raise PluginError(f"component target '{self.target}' must look like 'package.module:attribute'")
