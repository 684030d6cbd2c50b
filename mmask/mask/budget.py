"""How many places a masker may hide: shares made whole, and the refusal to hide everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import PlanError, RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout

Rounding = Literal["round", "floor", "random"]
ROUNDINGS = ("round", "floor", "random")


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise RecipeError unless ``value`` is one of the ``known`` words."""
    if value not in known:
        raise RecipeError(f"mask.{option} is '{value}'; it is one of {', '.join(known)}")


def whole(share: NDArray[np.floating], rounding: str, keys: Keys) -> NDArray[np.int64]:
    """Expected numbers made whole. share: (B,) -> (B,) int64.

    ``round``: the nearest, halves to even (SparK). ``floor``: truncated. ``random``: floor(share + u) with u
    uniform in [0, 1), right in the mean even where the share is below one (RoBERTa in fairseq).
    """
    if rounding == "random":
        return np.floor(share + keys.uniform("round", 1)[:, 0]).astype(np.int64)
    return (np.rint(share) if rounding == "round" else np.floor(share)).astype(np.int64)


def check_visible(layout: Layout, hidden: NDArray[np.bool_], hint: str) -> None:
    """Raise PlanError when a sample that has places would have no visible one."""
    present = layout.lengths().cpu().numpy()
    bare = np.flatnonzero((present > 0) & (present - hidden.sum(1) < 1))
    if len(bare):
        row = int(bare[0])
        raise PlanError(f"all {int(present[row])} places of sample {row} would be hidden", hint=hint)
