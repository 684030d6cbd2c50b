"""The run's reader: the recipe's data section through the data stage's loader."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.data.bundle import Rule, bundles_of, rule_of
from mmask.data.loader import Loader
from mmask.data.part import Maker
from mmask.data.stream import Stream, open_stream
from mmask.errors import DataError
from mmask.recipe.schema import DataSection, Recipe, Source, use
from mmask.train.ranks import Ranks
from mmask.train.shortened import shortened
from mmask.types import Batch

if TYPE_CHECKING:
    from mmask.plugin.host import Host

VAL_BATCH = 64
TRAIL = "windows.txt"  # in the run folder


class StreamReader:
    """A `mmask.train.reader.Reader` of shards.

    group: consecutive samples that are never parted. ledger: where unreadable samples are written; where windows of
    packs begin is remembered beside it.
    trail: that file, where there is no ledger.
    """

    def __init__(
        self, recipe: Recipe, host: Host, ranks: Ranks, *, ledger: Path | None = None, group: int = 1,
        trail: Path | None = None,
    ) -> None:
        self.recipe, self.ranks, self.ledger, self.group = recipe, ranks, ledger, group
        self.section = with_dataset(recipe.data, host)
        self.trail = trail or (ledger.with_name(TRAIL) if ledger is not None else None)
        seed = recipe.train.seed
        self.stream = open_stream(self.section, seed=seed)
        self.kept = open_stream(self.section, seed=seed, val=True) if self.section.val else None
        self.decode = {
            name: host.build("decoder", spec, where=f"data.decode.{name}")
            for name, spec in recipe.data.decode.items()
        }
        self.beginnings = shortened(self.decode, self.section)
        self.samples = self.units = len(self.stream)
        self.rule = rule_of(self.section)
        if self.rule is not None and self.rule.length:
            self.units = self._packs(self.rule)
        self.held_out = min(len(self.kept), recipe.train.val_samples) if self.kept is not None else 0
        self._open: list[Loader] = []

    def train(self, step: int) -> Iterator[Batch]:
        """This rank's part of each global batch, from optimizer step ``step`` on."""
        loader = self._loader(
            self.stream, batch_size=self.section.batch_size, rank=self.ranks.rank, world=self.ranks.world,
            workers=self.section.workers, start=step * self.section.batch_size, group=self.group,
            fault_budget=self.section.fault_budget, ledger=self.ledger,
            rule=self.rule, trail=self.trail, worker_start=self.section.worker_start,
        )
        return iter(loader)

    def _packs(self, rule: Rule) -> int:
        """Packs of an epoch, estimated from the first window: the same on every rank."""
        maker = Maker(self.stream, self.decode, self.recipe.train.seed, False)
        ragged = frozenset(name for one in self.decode.values() for name in getattr(one, "ragged", ()))
        return bundles_of(maker, rule, ragged, batch=self.section.batch_size).per_epoch()

    def val(self) -> Iterator[Batch]:
        """This rank's share of the held-out samples, spread evenly over them, in evaluation form."""
        rows = min(VAL_BATCH, self.section.batch_size // self.ranks.world)
        rows = -(-rows // self.group) * self.group
        return self._kept(self.held_out, rows * self.ranks.world, self.ranks, self.ledger)

    def sight(self, count: int) -> Batch | None:
        """A few held-out samples, or training samples where nothing is held out."""
        return next(self._kept(count, count, Ranks()), None)

    def _kept(self, limit: int, batch: int, ranks: Ranks, ledger: Path | None = None) -> Iterator[Batch]:
        stream = self.kept or self.stream
        whole = batch % (self.group * ranks.world) == 0  # a look at one sample breaks no group that is scored
        loader = self._loader(
            stream, batch_size=batch, rank=ranks.rank, world=ranks.world, workers=0, evaluate=True, limit=limit,
            group=self.group if whole else 1, fault_budget=self.section.fault_budget, ledger=ledger,
        )
        try:
            yield from loader
        finally:
            self._shut(loader)

    def _loader(self, stream: Stream, **options: Any) -> Loader:
        decode = self.beginnings if options.get("evaluate") else self.decode
        loader = Loader(stream, decode, seed=self.recipe.train.seed, **options)
        self._open.append(loader)
        return loader

    def _shut(self, loader: Loader) -> None:
        with suppress(ValueError):
            self._open.remove(loader)
        loader.close()

    def close(self) -> None:
        """End workers."""
        for loader in list(self._open):
            self._shut(loader)


def with_dataset(section: DataSection, host: Host) -> DataSection:
    """The section with the sources of its dataset component where none are named.

    Held-out sources come from the dataset only together with its training sources.
    """
    if section.train:
        return section
    if not section.dataset:
        raise DataError("no training data is named", hint="give --data 'shards/train-{000..127}.tar'")
    found = host.build("dataset", use(section.dataset), where="data.dataset")
    made = {"train": _sources(found["train"], "train")}
    if not section.val and found.get("val"):
        made["val"] = _sources(found["val"], "val")
    return section.model_copy(update=made)


def _sources(urls: Sequence[str], name: str) -> list[Source]:
    """One source of several shards; it is named, so that sample ids do not hold a place of installation."""
    if len(urls) == 1:
        return [Source(url=urls[0], name=name, weight=1.0)]
    folder = os.path.commonprefix(list(urls)).rpartition("/")[0]  # noqa: RUF071  # URLs, not paths: cut at a slash
    rest = ",".join(url[len(folder) :].lstrip("/") for url in urls)
    return [Source(url=f"{folder}/{{{rest}}}" if folder else f"{{{rest}}}", name=name, weight=1.0)]
