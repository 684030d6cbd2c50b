"""SpanMasker: runs of neighbouring places of a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.mask.budget import ROUNDINGS, Rounding, check_visible, one_of, whole
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout


class SpanMasker:
    """Hides spans of a sequence. Spans run over the places that may be hidden; special ones are skipped.

    ratio: share of those places, or its course over the steps. length: places of a span. distribution: ``fixed``
        length, or ``geometric`` with success probability 1 / ``length``, restricted to at most ``max_length``
        (SpanBERT's lengths, Joshi et al. 2020: length 5, max_length 10, hence 3.8 on average; whole words and its
        budget are those of `mmask.mask.run.RunMasker`).
    overlap: ``merge`` draws round(ratio * n / mean length) starts without replacement and lets spans
        overlap, so that less than ``ratio`` is hidden (wav2vec 2.0: 0.65 in spans of 10 hides about 0.49;
        TERA: 0.15 in spans of 7 about 0.138). ``apart`` hides exactly round(ratio * n) places, in spans with
        at least one visible place between them; the last span is cut to fit (T5, Raffel et al. 2020).
    at_least: spans (``merge``) or places (``apart``) of every sample that has at least two places. Merged spans of
        fixed length stay within what fits side by side with a place to spare.
    rounding: see `mmask.mask.budget.whole`.

    A sample shorter than a span takes a span that leaves it one place.
    """

    def __init__(
        self, *, ratio: Ratio = 0.65, length: int = 10,
        distribution: Literal["fixed", "geometric"] = "fixed", max_length: int | None = None,
        overlap: Literal["merge", "apart"] = "merge", at_least: int = 0, rounding: Rounding = "round",
    ) -> None:
        check_ratio(ratio)
        one_of("distribution", distribution, ("fixed", "geometric"))
        one_of("overlap", overlap, ("merge", "apart"))
        one_of("rounding", rounding, ROUNDINGS)
        if length < 1 or (max_length is not None and max_length < 1) or at_least < 0:
            raise RecipeError("mask.length and mask.max_length are at least 1, mask.at_least at least 0")
        if max_length is not None and distribution == "fixed":
            hint = "set mask.distribution=geometric"
            raise RecipeError("mask.max_length has no use with spans of fixed length", hint=hint)
        self.ratio, self.length, self.distribution = ratio, length, distribution
        self.max_length, self.overlap, self.at_least, self.rounding = max_length, overlap, at_least, rounding

    @property
    def mean_length(self) -> float:
        """The expected length of a span."""
        if self.distribution == "fixed":
            return float(self.length)
        if self.max_length is None:
            return float(self.length)
        number = np.arange(1, self.max_length + 1)
        weight = (1.0 - 1.0 / self.length) ** (number - 1)
        return float((number * weight).sum() / weight.sum())

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError on a grid, when nothing would stay visible, or when spans
        cannot be kept apart."""
        import torch

        if layout.grid is not None and len(layout.grid) > 1:
            raise PlanError(f"spans need a sequence, not a grid {layout.grid}", hint="use 'block' or 'tube'")
        free = layout.maskable().numpy()
        count = free.sum(1)
        ordered = (self._merged if self.overlap == "merge" else self._apart)(count, keys, layout.length)
        rank = np.maximum(free.cumsum(1) - 1, 0)  # the how-many-th maskable place of its row each place is
        hidden = np.take_along_axis(ordered, rank, 1) & free
        check_visible(layout, hidden, "lower mask.ratio, or mask.at_least")
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden))

    def _lengths(self, keys: Keys, spans: int, count: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B, spans) lengths, at most one less than the sample has places."""
        if self.distribution == "fixed":
            lengths = np.full((len(keys), spans), self.length)
        else:
            stay = 1.0 - 1.0 / self.length
            u = keys.uniform("length", spans) * (1.0 - stay**self.max_length if self.max_length else 1.0)
            scale = np.log(stay) if stay else -np.inf
            lengths = 1 + np.floor(np.log1p(-u) / scale).astype(np.int64)
        return np.minimum(lengths, np.maximum(count - 1, 0)[:, None])

    def _spans(self, share: NDArray[np.floating], count: NDArray[np.int64], keys: Keys) -> NDArray[np.int64]:
        """(B,) the number of spans for (B,) expected ones; none where a sample has fewer than two places.

        Rounding up and ``at_least`` do not go beyond the fixed spans that fit side by side and leave a place, so that
        they never hide all of a short sample.
        """
        spans = np.maximum(whole(share, self.rounding, keys), self.at_least)
        if self.distribution == "fixed":
            room = np.maximum((count - 1) // self.length, 1)
            spans = np.minimum(spans, np.maximum(room, np.floor(share).astype(np.int64)))
        return np.where(count > 1, spans, 0)

    def _merged(self, count: NDArray[np.int64], keys: Keys, width: int) -> NDArray[np.bool_]:
        """(B, width) hidden, over the maskable places in order: starts without replacement."""
        spans = self._spans(count * ratio_at(self.ratio, keys.step) / self.mean_length, count, keys)
        most = int(spans.max(initial=0))
        lengths = self._lengths(keys, most, count)
        shortest = lengths if self.distribution == "fixed" else np.minimum(lengths, 1)
        room = count - (shortest[:, 0] if most else 0)  # the last start, so that a fixed span fits
        places = np.arange(width)[None]
        starts = keys.order("start", width, places <= room[:, None])[:, :most]
        drawn = (np.arange(most)[None] < spans[:, None]) & (starts <= room[:, None])[:, :most]
        ends = np.minimum(starts + lengths[:, : starts.shape[1]], count[:, None])
        return _cover(starts, ends, drawn[:, : starts.shape[1]], width)

    def _apart(self, count: NDArray[np.int64], keys: Keys, width: int) -> NDArray[np.bool_]:
        """(B, width) hidden, over the maskable places in order: an exact number, in spans apart."""
        budget = whole(count * ratio_at(self.ratio, keys.step), self.rounding, keys)
        budget = np.where(count > 1, np.maximum(budget, self.at_least), 0)
        lengths = self._lengths(keys, max(1, int(budget.max(initial=0))), count)
        before = np.minimum(lengths.cumsum(1) - lengths, budget[:, None])
        lengths = np.minimum(lengths, budget[:, None] - before)
        spans = (lengths > 0).sum(1)
        spare = count - budget - np.maximum(spans - 1, 0)  # visible places beside the one between two spans
        if bool((spare < 0).any()):
            row = int(np.flatnonzero(spare < 0)[0])
            asked = f"{budget[row]} of {count[row]} places of sample {row} in {spans[row]} spans"
            raise PlanError(
                f"{asked} cannot be kept apart",
                hint="lower mask.ratio, use longer spans, or set mask.overlap=merge",
            )
        # stars and bars: which of (spare + spans) slots hold a span decides the gaps, every choice as likely
        slots = spare + spans
        wide = int(slots.max(initial=0))
        order = keys.order("gap", wide, np.arange(wide)[None] < slots[:, None])
        chosen = np.zeros((len(count), wide), bool)
        np.put_along_axis(chosen, order, np.arange(wide)[None] < spans[:, None], 1)
        slot = np.sort(np.where(chosen, np.arange(wide)[None], wide), 1)[:, : lengths.shape[1]]
        lengths, before = lengths[:, : slot.shape[1]], before[:, : slot.shape[1]]
        return _cover(slot + before, slot + before + lengths, lengths > 0, width)


def _cover(
    starts: NDArray[np.int64], ends: NDArray[np.int64], drawn: NDArray[np.bool_], width: int
) -> NDArray[np.bool_]:
    """(B, width) bool: the union of the spans [start, end) that were drawn."""
    edge = np.zeros((len(starts), width + 1), np.int64)
    rows = np.broadcast_to(np.arange(len(starts))[:, None], starts.shape)[drawn]
    np.add.at(edge, (rows, starts[drawn]), 1)
    np.add.at(edge, (rows, ends[drawn]), -1)
    return edge.cumsum(1)[:, :width] > 0
