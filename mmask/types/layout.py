"""Where the tokens of a batch lie, without their values: all that a masker may know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING

from mmask.errors import PlanError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of B samples with N places each.

    grid: the shape of a regular grid, row-major, e.g. (14, 14) or (T, H, W); None for sequences.
    valid: (B, N) bool, False at padding; None means every place is valid.
    special: (B, N) bool, True at places no masker may touch ([CLS], [SEP], a register); None means none.
    index: (B, N) int64, the position of each place in the full grid or sequence; None means 0..N-1.
        After places were dropped, it says which ones are left.
    total: how many positions ``index`` counts over (the full length); defaults to N.
    groups: name -> (B, N) int64 id of the group (word, span, entity, tube) a place belongs to, -1 for none.
    modality: (B, N) int64 into ``modalities`` when several streams are joined; None otherwise.
    unit: the number of input elements that one place covers per grid axis, e.g. (16, 16) pixels.
    channels: values of one place, for plans that also hide along the feature axis (TERA's 80 mel bins).
    """

    batch: int
    length: int
    grid: tuple[int, ...] | None = None
    valid: torch.Tensor | None = None
    special: torch.Tensor | None = None
    index: torch.Tensor | None = None
    total: int | None = None
    groups: Mapping[str, torch.Tensor] = field(default_factory=dict)
    modality: torch.Tensor | None = None
    modalities: tuple[str, ...] = ()
    unit: tuple[int, ...] | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and self.index is None and prod(self.grid) != self.length:
            raise PlanError(f"a layout with grid {self.grid} has {prod(self.grid)} places, not {self.length}")
        for name in ("valid", "special", "index", "modality"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (self.batch, self.length):
                shape = (self.batch, self.length)
                raise PlanError(f"Layout.{name} is {tuple(value.shape)}, expected {shape}")

    @property
    def positions(self) -> int:
        """The number of positions of the full grid or sequence."""
        return self.length if self.total is None else self.total

    def maskable(self) -> torch.Tensor:
        """(B, N) bool on the host: valid places that are not special."""
        import torch

        free = torch.ones(self.batch, self.length, dtype=torch.bool)
        if self.valid is not None:
            free &= self.valid.cpu()
        if self.special is not None:
            free &= ~self.special.cpu()
        return free

    def lengths(self) -> torch.Tensor:
        """(B,) int64: valid places per sample, special ones included."""
        import torch

        if self.valid is None:
            return torch.full((self.batch,), self.length, dtype=torch.int64)
        return self.valid.sum(1)

    def group(self, name: str) -> torch.Tensor:
        """(B, N) int64 ids of one kind of group, -1 for none.

        Raises PlanError naming the kinds this layout has.
        """
        if name not in self.groups:
            raise PlanError(
                f"the layout has no groups '{name}'; it has {sorted(self.groups) or 'none'}",
                hint="the tokenizer makes groups: choose a masker unit that it provides",
            )
        return self.groups[name]

    def rows(self, start: int, stop: int) -> Layout:
        """Samples ``start:stop``."""
        def cut(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value[start:stop]

        return replace(
            self, batch=stop - start, valid=cut(self.valid), special=cut(self.special),
            index=cut(self.index), modality=cut(self.modality),
            groups={name: value[start:stop] for name, value in self.groups.items()},
        )

    def samples(self, index: torch.Tensor) -> Layout:
        """The layouts of samples ``index`` (B',), in that order: other pairings of the same batch."""
        def pick(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value[index.to(value.device)]

        groups = {name: ids[index.to(ids.device)] for name, ids in self.groups.items()}
        return replace(
            self, batch=len(index), valid=pick(self.valid), special=pick(self.special),
            index=pick(self.index), modality=pick(self.modality), groups=groups,
        )

    def take(self, keep_idx: torch.Tensor, kept: torch.Tensor | None = None) -> Layout:
        """The layout of the places ``keep_idx`` (B, K) alone.

        kept: (B, K) bool, False where ``keep_idx`` is padding of a ragged plan.
        """
        def pick(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value.gather(1, keep_idx.to(value.device))

        valid = pick(self.valid)
        if kept is not None:
            valid = kept if valid is None else valid & kept
        return replace(
            self, length=keep_idx.shape[1], valid=valid, special=pick(self.special),
            index=keep_idx if self.index is None else pick(self.index), total=self.positions,
            groups={name: value.gather(1, keep_idx.to(value.device)) for name, value in self.groups.items()},
            modality=pick(self.modality),
        )

    def flat_index(self) -> torch.Tensor:
        """(T,) int64: the valid places in the flattened (B·N), ascending; where flat tokens come from."""
        import torch

        if self.valid is None:
            return torch.arange(self.batch * self.length)
        return self.valid.cpu().flatten().nonzero().squeeze(1)

    def flat_rank(self, index: torch.Tensor) -> torch.Tensor:
        """Where flat tokens have the places ``index`` (S,) of the flattened (B·N); all of them must be valid."""
        valid = self.flat_index()
        rank = valid.new_full((self.batch * self.length,), -1)
        rank[valid] = valid.new_ones(len(valid)).cumsum(0) - 1
        return rank[index.cpu()]

    def edit(self, edit: torch.Tensor) -> Layout:
        """The layout after an edit of the sequence.

        edit: (B, M) int64 on the host: the old place of each new one, -1 where one is inserted, -2 where the
        row is padding. Inserted places are valid, not special and in no group; positions count anew; a grid
        does not survive.
        """
        import torch

        old, there = edit.clamp_min(0), edit >= 0

        def pick(value: torch.Tensor | None, fill: int) -> torch.Tensor | None:
            return None if value is None else torch.where(there, value.cpu().gather(1, old), fill)

        groups = {name: torch.where(there, ids.cpu().gather(1, old), -1) for name, ids in self.groups.items()}
        valid = edit > -2
        if self.valid is not None:
            valid &= torch.where(there, self.valid.cpu().gather(1, old), True)
        return Layout(
            self.batch, edit.shape[1], valid=None if bool(valid.all()) else valid,
            special=pick(self.special, False), modality=pick(self.modality, -1), modalities=self.modalities,
            groups=groups, channels=self.channels,
        )

    @staticmethod
    def join(parts: Mapping[str, Layout]) -> Layout:
        """Several streams of the same samples side by side, tagged by ``modality``.

        The groups of each stream keep their ids, shifted so that streams never share one.
        """
        import torch

        names, layouts = tuple(parts), list(parts.values())
        batch = layouts[0].batch
        length = sum(part.length for part in layouts)

        def cat(name: str, fill: bool) -> torch.Tensor | None:
            values = [getattr(part, name) for part in layouts]
            if all(value is None for value in values):
                return None
            whole = [
                torch.full((batch, part.length), fill) if value is None else value.cpu()
                for part, value in zip(layouts, values, strict=True)
            ]
            return torch.cat(whole, 1)

        modality = torch.cat([torch.full((batch, p.length), i) for i, p in enumerate(layouts)], 1)
        groups = {name: _join_groups(name, layouts) for part in layouts for name in part.groups}
        return Layout(
            batch, length, valid=cat("valid", True), special=cat("special", False),
            groups=groups, modality=modality, modalities=names,
        )


def _join_groups(name: str, layouts: list[Layout]) -> torch.Tensor:
    import torch

    columns, offset = [], 0
    for part in layouts:
        ids = part.groups.get(name)
        if ids is None:
            ids = torch.full((part.batch, part.length), -1, dtype=torch.int64)
        columns.append(torch.where(ids >= 0, ids + offset, ids))
        offset += int(ids.max()) + 1 if ids.numel() else 0
    return torch.cat(columns, 1)
