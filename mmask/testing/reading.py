"""What tests of a plugin's decoders do with the real loader, and of its evaluators with labelled shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmask.protocols import Decoder
    from mmask.types import Batch, Labelled


def batches(
    url: str | Sequence[str], decode: Mapping[str, Decoder], *, batch_size: int, samples: int, workers: int = 0,
    seed: int = 0, streams: int = 2, shuffle: int = 4096, group: int = 1, fault_budget: float = 0.01,
    ledger: Path | None = None,
) -> Iterator[Batch]:
    """The batches that training would get of the first ``samples`` positions; the workers end with the iteration.

    url: shards, braces and all, or a folder of them; several are mixed in equal parts. decode: decoders by name.
    streams, shuffle: as in a recipe's ``data``. group: so many consecutive samples stay together on a rank and a
    worker. fault_budget: the share of samples that may be unreadable before DataError. ledger: the JSONL file where
    those are written down, for `mmask.testing.read_ledger`.
    """
    from mmask.data.loader import Loader
    from mmask.data.stream import open_stream
    from mmask.recipe.schema import DataSection, Source

    urls = {"s": url} if isinstance(url, str) else {f"s{number}": one for number, one in enumerate(url)}
    sources = [Source(url=one, name=name) for name, one in urls.items()]
    data = DataSection(train=sources, streams=streams, shuffle=shuffle)
    loader = Loader(
        open_stream(data, seed=seed), decode, seed=seed, batch_size=batch_size, workers=workers, limit=samples,
        group=group, fault_budget=fault_budget, ledger=ledger,
    )
    with loader:
        yield from loader


def judged(
    run: Path, wants: str, data: Sequence[str], val: Sequence[str], *, limit: int | None = None
) -> tuple[Labelled, Labelled]:
    """The samples to fit and to test on that an evaluator with these ``wants`` is given of a run, on the CPU.

    data, val: URLs of labelled shards. limit: at most so many of each, evenly spread.
    """
    from mmask.evaluate.run import Request, load
    from mmask.evaluate.subject import Arm, Reading
    from mmask.library import plugins

    reading = Reading(device="cpu", limit=limit)
    request = Request("", data=tuple(data), val=tuple(val), reading=reading)
    return load(Arm(run), plugins(), request, wants)[:2]
