"""Segments: the samples of a batch one after another, without padding, and the way there and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmask.errors import PlanError

if TYPE_CHECKING:
    from mmask.types import Layout


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Neighbouring samples that one call of attention serves.

    start, rows: the packed rows they own. count: samples. longest: places of the longest one.
    index: (count * longest,) int64, the row of each place among ``rows``, row 0 at padding; None when all are of one
    length, and then the rows are the places. back: (rows,) int64, the place of each row. pads: places that are
    padding. keys: (count, longest) bool, False at padding.
    """

    start: int
    rows: int
    count: int
    longest: int
    index: Tensor | None = None
    back: Tensor | None = None
    pads: Tensor | None = None
    keys: Tensor | None = None


@dataclass(eq=False)
class Segments:
    """Where the samples of a packed batch lie: longest first, so that those of like length are neighbours.

    batch, length: of the padded layout. lengths: places of each sample, in packed order. positions: (T,) int64 of
    each row in its sample (or in the full sequence, where places were dropped). regular: whether positions of a
    sample are consecutive, so that a distance of rows is a distance of places. padded: the plain twin, in which the
    rows are all B * N places. keys: (B, N) bool, False at padding, in the order of the batch; None when there is none.
    rows: (T,) int64, the padded place of each row; None when they are all of them in order. flat: (T,) int64, the row
    of a flat batch in the order of its samples for each packed row. back: the inverse of it.
    """

    batch: int
    length: int
    lengths: tuple[int, ...]
    positions: Tensor
    regular: bool = True
    padded: bool = False
    keys: Tensor | None = None
    rows: Tensor | None = None
    flat: Tensor | None = None
    back: Tensor | None = None
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(layout: Layout, device: torch.device | str = "cpu", *, padded: bool = False) -> Segments:
        """The samples of a layout. padded: keep padding, as the plain twin does."""
        index = torch.arange(layout.length).expand(layout.batch, -1) if layout.index is None else layout.index.cpu()
        keys = None if layout.valid is None or bool(layout.valid.all()) else layout.valid.cpu()
        moved = None if keys is None else keys.to(device)
        if padded or keys is None:
            steps = index[:, 1:] - index[:, :-1]
            regular = layout.index is None or bool((steps == 1).all())
            lengths = (layout.length,) * layout.batch
            positions = index.reshape(-1).to(device)
            return Segments(layout.batch, layout.length, lengths, positions, regular, padded, moved)
        counts = keys.sum(1)
        order = counts.argsort(descending=True, stable=True)
        row, column = keys[order].nonzero(as_tuple=True)
        rows = order[row] * layout.length + column
        positions = index[order[row], column]
        same = row[1:] == row[:-1]
        regular = bool((positions.diff()[same] == 1).all())
        flat = (keys.flatten().cumsum(0) - 1)[rows]
        lengths = tuple(int(count) for count in counts[order] if count)
        return Segments(
            layout.batch, layout.length, lengths, positions.to(device), regular, False, moved,
            rows.to(device), flat.to(device), flat.argsort().to(device),
        )

    @property
    def total(self) -> int:
        """T, the rows."""
        return len(self.positions)

    def take(self, values: Tensor) -> Tensor:
        """(B, N, ...) -> (T, ...)."""
        dense = values.flatten(0, 1)
        if self.rows is None:
            return dense
        return _Gather.apply(dense, self.rows, None) if dense.is_floating_point() else dense[self.rows]

    def put(self, packed: Tensor) -> Tensor:
        """(T, ...) -> (B, N, ...), zero at padding."""
        if self.rows is None:
            return packed.unflatten(0, (self.batch, self.length))
        where, pads = self._where()
        return _Spread.apply(packed, where, pads, self.rows).unflatten(0, (self.batch, self.length))

    def take_flat(self, flat: Tensor) -> Tensor:
        """Rows of a flat batch in the order of its samples -> packed rows."""
        if self.padded:
            raise PlanError("the plain twin of an encoder takes padded tokens, not a flat batch")
        return flat if self.flat is None else flat.index_select(0, self.flat)

    def put_flat(self, packed: Tensor) -> Tensor:
        """Packed rows -> rows in the order of the samples, without padding."""
        return packed if self.back is None else packed.index_select(0, self.back)

    def groups(self, width: int) -> list[Group]:
        """Neighbours that are computed together. width: channels of all heads; decides when a call costs more than
        the padding that it saves."""
        if ("groups", width) not in self.cache:
            self.cache["groups", width] = _grouped(self.lengths, width, self.positions.device)
        return self.cache["groups", width]

    def offsets(self) -> Tensor:
        """(samples + 1,) int32, where each packed sample starts."""
        if "offsets" not in self.cache:
            ends = torch.tensor((0, *self.lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)
            self.cache["offsets"] = ends.to(self.positions.device)
        return self.cache["offsets"]

    def _where(self) -> tuple[Tensor, Tensor]:
        """The row of each padded place, 0 at padding, and the places that are padding."""
        if "where" not in self.cache:
            assert self.rows is not None
            where = torch.full((self.batch * self.length,), -1, dtype=torch.int64, device=self.rows.device)
            where[self.rows] = torch.arange(self.total, device=self.rows.device)
            self.cache["where"] = (where.clamp_min(0), (where < 0).nonzero().squeeze(1))
        return self.cache["where"]


# Multiply-adds of padding that one call of attention may waste, and what moving a value of a padded group counts
# beside them. On an x86 core, for widths 64 to 768, anything up to 1.5 million is within a sixth of the best; from 5
# million on it is slower, and one padded call for all takes three to ten times as long. A GPU gets one call for all.
_CALL = 500_000
_MOVE = 24


def _grouped(lengths: tuple[int, ...], width: int, device: torch.device) -> list[Group]:
    """Cut a descending row of lengths where padding would cost more than another call."""
    runs: list[list[int]] = []
    spent = 0.0
    for length in lengths:
        longest = runs[-1][0] if runs else 0
        extra = (longest * longest - length * length) * width + (_MOVE * longest * width if length < longest else 0)
        if runs and (length == longest or device.type != "cpu" or spent + extra <= _CALL):
            runs[-1].append(length)
            spent += extra
        else:
            runs.append([length])
            spent = 0.0
    out, start = [], 0
    for run in runs:
        out.append(_group(start, run, device))
        start += out[-1].rows
    return out


def _group(start: int, run: list[int], device: torch.device) -> Group:
    rows, count, longest = sum(run), len(run), run[0]
    if run[-1] == longest:
        return Group(start, rows, count, longest)
    keys = torch.arange(longest) < torch.tensor(run)[:, None]
    flat = keys.flatten()
    index = (flat.cumsum(0) - 1).masked_fill_(~flat, 0)
    there, pads = flat.nonzero().squeeze(1), (~flat).nonzero().squeeze(1)
    return Group(start, rows, count, longest, *(one.to(device) for one in (index, there, pads, keys)))


def spread(rows: Tensor, group: Group) -> Tensor:
    """(rows, ...) -> (count * longest, ...); what lies at padding is arbitrary and takes no gradient."""
    return rows if group.index is None else _Spread.apply(rows, group.index, None, group.back)


def gather(places: Tensor, group: Group) -> Tensor:
    """(count * longest, ...) -> (rows, ...), the inverse of `spread`."""
    return places if group.index is None else _Gather.apply(places, group.back, (group.index, group.pads))


def pick(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows] for distinct rows (S,)."""
    return _Gather.apply(x, rows, None)


class _Spread(torch.autograd.Function):
    """out[i] = x[index[i]], zero at ``pads``. Rows at padding take no gradient, so the way back is a plain copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, pads: Tensor | None, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        out = x.index_select(0, index)
        return out if pads is None else out.index_fill_(0, pads, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None, None


class _Gather(torch.autograd.Function):
    """out[i] = x[back[i]] for distinct places. inverse: (row of each place, places that are padding)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, back: Tensor, inverse: tuple[Tensor, Tensor] | None) -> Tensor:
        ctx.places, ctx.inverse = len(x), inverse
        ctx.save_for_backward(back)
        return x.index_select(0, back)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        if ctx.inverse is not None:
            index, pads = ctx.inverse
            return grad.index_select(0, index).index_fill_(0, pads, 0), None, None
        zeros = grad.new_zeros(ctx.places, *grad.shape[1:])
        return zeros.index_copy_(0, ctx.saved_tensors[0], grad), None, None
