"""Samples no longer than a pack: what a run that packs evaluates, since it never saw a longer one as one sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmask.recipe.schema import DataSection
from mmask.types import Sample


def shortened(decoders: Mapping[str, Any], data: DataSection) -> dict[str, Any]:
    """The decoders, cutting the ends of samples longer than ``data.pack.length``; as they are without packs."""
    if data.pack is None:
        return dict(decoders)
    return {name: Shortened(one, data.pack.by, data.pack.length) for name, one in decoders.items()}


class Shortened:
    """A decoder whose samples are at most ``length`` long: what a run that packs saw as one sample.

    by: the field whose first axis is the length; fields ``by.x`` of the same length are cut with it.
    """

    def __init__(self, inner: Any, by: str, length: int) -> None:
        self.inner, self.by, self.length = inner, by, length
        self.ragged = getattr(inner, "ragged", ())

    def __call__(self, sample: Sample, keys: Any) -> Mapping[str, Any]:
        """What the decoder makes, without its end."""
        made = dict(self.inner(sample, keys))
        whole = made.get(self.by)
        if whole is None or len(whole) <= self.length:
            return made
        cut = [
            name for name, value in made.items()
            if (name == self.by or name.startswith(f"{self.by}.")) and np.ndim(value) and len(value) == len(whole)
        ]
        return {**made, **{name: made[name][: self.length] for name in cut}}
