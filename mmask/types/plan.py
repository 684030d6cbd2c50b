"""MaskPlan: which places of a layout are hidden, and how. Made on the host, bit-identical everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmask.errors import PlanError
from mmask.types.layout import Layout

if TYPE_CHECKING:
    import torch


class Action(IntEnum):
    """What happens to a hidden place. VISIBLE is every place that is not hidden."""

    VISIBLE = 0
    DROP = 1  # removed from the sequence (MAE)
    MASK = 2  # replaced by a mask token or a learned vector (BERT, SSAST)
    ZERO = 3  # replaced by zeros (TERA, VIOLET)
    RANDOM = 4  # replaced by a random value (BERT's 10 %)
    KEEP = 5  # hidden by the plan and scored, but left as it is (BERT's 10 %)
    COPY = 6  # replaced by the value at ``source``
    NOISE = 7  # noise is added
    SAMPLE = 8  # replaced by a draw from another network (ELECTRA)


@dataclass(frozen=True)
class MaskPlan:
    """A decision about every place of a layout.

    hidden: (B, N) bool on the host; never True at padding or special places.
    keep_idx: (B, K) int64, the places that stay visible (special ones included), in the order the
        encoder will see them. Rows with fewer than K places are padded with their last kept place.
    keep_count: (B,) int64, or None when every row keeps exactly K.
    action: (B, N) uint8 of `Action`, or None when every hidden place takes the corruption's own action.
    source: (B, N) int64, the place whose value each place reads (copies, swaps); None means its own. Places
        keep their identity: what belongs at place n is still the clean value of n.
    edit: (B, M) int64, the old place of each place of the edited sequence, -1 inserted, -2 padding; None when
        the sequence is not edited. `output` is the same decision seen from the M new places.
    cells: (B, N, D) bool, cells hidden beside the hidden places (TERA's frequency bands), or None.
    extra: further named tensors of a masker, B first (magnitude noise on/off, cluster sizes, ...).
    """

    layout: Layout
    hidden: torch.Tensor
    keep_idx: torch.Tensor
    keep_count: torch.Tensor | None = None
    action: torch.Tensor | None = None
    source: torch.Tensor | None = None
    edit: torch.Tensor | None = None
    cells: torch.Tensor | None = None
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @staticmethod
    def of_hidden(layout: Layout, hidden: torch.Tensor, **more: Any) -> MaskPlan:
        """A plan from the hidden places alone; kept places stay in ascending order.

        hidden: (B, N) bool. Raises PlanError where padding or special places are hidden.
        """
        hidden = hidden.cpu()
        if tuple(hidden.shape) != (layout.batch, layout.length):
            raise PlanError(f"hidden is {tuple(hidden.shape)}, the layout is {(layout.batch, layout.length)}")
        if bool((hidden & ~layout.maskable()).any()):
            raise PlanError("a plan hides padding or special places", hint="and it with layout.maskable()")
        visible = ~hidden if layout.valid is None else ~hidden & layout.valid.cpu()
        keep_idx, count = ragged_index(visible)
        return MaskPlan(layout, hidden, keep_idx, count, **more)

    @staticmethod
    def of_order(layout: Layout, order: torch.Tensor, keep: int) -> MaskPlan:
        """A plan that keeps the first ``keep`` places of ``order`` (B, N), in that order (MAE's shuffle)."""
        import torch

        hidden = torch.ones(layout.batch, layout.length, dtype=torch.bool)
        hidden.scatter_(1, order[:, :keep], False)
        if bool((hidden & ~layout.maskable()).any()):
            raise PlanError("this order drops padding or special places", hint="use MaskPlan.of_hidden")
        return MaskPlan(layout, hidden, order[:, :keep].contiguous())

    @staticmethod
    def nothing(layout: Layout) -> MaskPlan:
        """The plan that hides nothing: masking switched off, without permuting anything."""
        import torch

        return MaskPlan.of_hidden(layout, torch.zeros(layout.batch, layout.length, dtype=torch.bool))

    @cached_property
    def hidden_index(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, H) int64 hidden places, ascending, and (B,) counts (None when all rows hide H)."""
        return ragged_index(self.hidden)

    @property
    def hide_idx(self) -> torch.Tensor:
        """(B, H) int64, the hidden places, ascending; short rows are padded with their last one."""
        return self.hidden_index[0]

    @cached_property
    def flat_hidden(self) -> torch.Tensor:
        """(S,) int64 indices of hidden places into the flattened (B·N) places, ascending."""
        return self.hidden.flatten().nonzero().squeeze(1)

    @property
    def kept(self) -> torch.Tensor | None:
        """(B, K) bool, False where ``keep_idx`` is padding; None when nothing is padded."""
        import torch

        if self.keep_count is None:
            return None
        return torch.arange(self.keep_idx.shape[1])[None] < self.keep_count[:, None]

    def ratio(self) -> float:
        """The realised share of hidden places among those that may be hidden."""
        free = int(self.layout.maskable().sum())
        return float(self.hidden.sum()) / max(1, free)

    @cached_property
    def output(self) -> MaskPlan:
        """The plan over the edited sequence: hidden are the inserted places and what was hidden before.

        The plan itself when nothing is edited, so that what is scored can always ask for ``plan.output``.
        """
        if self.edit is None:
            return self
        hidden = self.hidden.gather(1, self.edit.clamp_min(0)) & (self.edit >= 0) | (self.edit == -1)
        return MaskPlan.of_hidden(self.layout.edit(self.edit), hidden)

    def complement(self) -> MaskPlan:
        """The plan that keeps what this one hides (CAE's alignment branch); special places stay kept."""
        visible = self.layout.maskable() & ~self.hidden
        return MaskPlan.of_hidden(self.layout, visible)

    def on_grid(self, factor: int | tuple[int, ...] = 1) -> torch.Tensor:
        """(B, *grid·factor) bool hidden map, each place repeated: the plan at a finer stride of a pyramid."""
        grid = self.layout.grid
        if grid is None:
            raise PlanError("only a plan on a grid can be projected; this layout has none")
        factors = (factor,) * len(grid) if isinstance(factor, int) else factor
        cells = self.hidden.view(-1, *grid)
        for axis, times in enumerate(factors, start=1):
            cells = cells.repeat_interleave(times, axis)
        return cells

    def rows(self, start: int, stop: int) -> MaskPlan:
        """The plan of samples ``start:stop``."""
        def cut(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value[start:stop]

        keep_idx, count = self.keep_idx[start:stop], cut(self.keep_count)
        if count is not None:  # as if these rows had been planned alone
            most = int(count.max()) if len(count) else 0
            keep_idx, count = keep_idx[:, :most], None if bool((count == most).all()) else count
        return MaskPlan(
            self.layout.rows(start, stop), self.hidden[start:stop], keep_idx, count,
            cut(self.action), cut(self.source), cut(self.edit), cut(self.cells),
            {name: value[start:stop] for name, value in self.extra.items()},
        )

    def split(self) -> dict[str, MaskPlan]:
        """The plans of the joined streams (`Layout.join`), by modality name.

        Places that read one another across streams cannot be split: ``source`` or ``edit`` raises PlanError.
        """
        layout = self.layout
        if layout.modality is None or self.source is not None or self.edit is not None:
            raise PlanError("only a plan of joined streams without copies or edits can be split")
        out: dict[str, MaskPlan] = {}
        start = 0
        for code, name in enumerate(layout.modalities):
            stop = start + int((layout.modality[0] == code).sum())
            part = Layout(
                layout.batch, stop - start,
                valid=None if layout.valid is None else layout.valid[:, start:stop],
                special=None if layout.special is None else layout.special[:, start:stop],
            )
            action = None if self.action is None else self.action[:, start:stop]
            out[name] = MaskPlan.of_hidden(part, self.hidden[:, start:stop], action=action)
            start = stop
        return out

    def with_layout(self, layout: Layout) -> MaskPlan:
        """The same decision about another description of the same places."""
        return replace(self, layout=layout)


def ragged_index(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The True places of each row. chosen: (B, N) bool -> (B, K) int64 ascending, (B,) counts or None.

    K is the largest count; short rows repeat their last place (place 0 in empty rows).
    """
    import torch

    counts = chosen.sum(1)
    most = int(counts.max()) if counts.numel() else 0
    if bool((counts == most).all()):
        return chosen.nonzero()[:, 1].view(len(chosen), most), None
    places = torch.cat([chosen.nonzero()[:, 1], counts.new_zeros(1)])  # the last is what empty rows point at
    slot = torch.minimum(torch.arange(most)[None], (counts - 1).clamp_min(0)[:, None])
    start = torch.where(counts > 0, counts.cumsum(0) - counts, len(places) - 1)
    return places[start[:, None] + slot], counts
