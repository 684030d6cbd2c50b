"""Reading encoded states at scored places, when only some places of the layout were encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.layers.gather import fill_index

if TYPE_CHECKING:
    import torch

    from mmask.types import Encoded, Layout, Scored


def rows_at(encoded: Layout, scored: Scored) -> torch.Tensor | None:
    """Rows of the flattened (B·K) encoded places that hold the scored ones. -> (S,) int64 on the host.

    encoded: the layout of the K places, a part of the scored layout by its ``index``. None means that the
    rows are all of them, in order, so that nothing has to be gathered.
    Raises PlanError when a scored place was not encoded.
    """
    import torch

    if scored.unit != "position":
        raise PlanError(f"states are read at scored positions, not at a scored {scored.unit}")
    full = scored.layout
    if encoded.index is None:
        if encoded.length != full.length:
            raise PlanError(f"{full.length} places are scored, {encoded.length} were encoded")
        return scored.index
    where = fill_index(encoded.index.cpu(), full.positions, encoded.valid)
    rows = where.flatten() if scored.index is None else where.flatten()[scored.index.cpu()]
    total = encoded.batch * encoded.length
    if bool((rows >= total).any()):
        raise PlanError(
            "a scored place was not encoded",
            hint="score the places the network returns, or use a head that fills the others in",
        )
    if len(rows) == total and bool((rows == torch.arange(total)).all()):
        return None
    return rows


def states_at(encoded: Encoded, scored: Scored) -> torch.Tensor:
    """The states of scored places. -> (S, D). Raises PlanError as `rows_at` does."""
    states = encoded.places.flatten(0, 1)
    rows = rows_at(encoded.layout, scored)
    return states if rows is None else states.index_select(0, rows.to(states.device, non_blocking=True))
