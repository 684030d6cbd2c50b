"""Probes of the health points: what the encoder's features are worth while it trains, and the collapse alarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmask.data.loader import Loader
from mmask.data.stream import Stream, open_stream
from mmask.errors import DataError, MmaskError, RecipeError
from mmask.keyed import fold
from mmask.observe.spectrum import spectrum
from mmask.protocols import Evaluator
from mmask.recipe.schema import ProbeSection, Recipe
from mmask.train.embed import NO_LABEL, labelled_decoders, section_of
from mmask.train.features import POOLED, collect, held_out, pair
from mmask.train.logbook import Logbook
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision

if TYPE_CHECKING:
    from mmask.plugin.host import Host

_BATCH = 64


@dataclass
class Found:
    """Numbers of one health point. rank, std: see `mmask.observe.spectrum`. accuracy: by evaluator."""

    rank: float
    std: float
    accuracy: Mapping[str, float]


class Probe:
    """Fits the section's evaluators on features of the same labelled samples each time.

    A fault of the data stops the run at its first health point, before it has cost anything; later ones are said
    and passed over. Evaluators with ``wants = "network"`` are refused: they cost more than the run.
    """

    def __init__(self, recipe: Recipe, host: Host, precision: Precision, book: Logbook) -> None:
        section = recipe.train.probe
        assert section is not None
        self.section, self.seed, self.precision, self.book = section, recipe.train.seed, precision, book
        self.evaluators = _evaluators(section, host)
        self.decode = labelled_decoders(recipe, host)
        self.fit = self._open(recipe, host, section.train)
        self.test = self._open(recipe, host, section.val) if section.val else None
        self._worked = False

    def _open(self, recipe: Recipe, host: Host, urls: list[str]) -> Stream:
        return open_stream(section_of(recipe, host, urls), seed=self.seed)

    def __call__(self, model: MaskedModel, step: int) -> dict[str, float]:
        """``probe_<evaluator>`` (accuracy), ``probe_rank``, ``probe_std`` and ``probe_collapse`` (0 or 1)."""
        was_training = model.training
        model.eval()
        try:
            found = self._look(model)
        except Exception as error:
            if not self._worked and isinstance(error, MmaskError):
                raise
            self.book.progress.say(f"no probe at step {step}: {type(error).__name__}: {error}")
            return {}
        finally:
            model.train(was_training)
        self._worked = True
        return self._told(found, step)

    def _look(self, model: MaskedModel) -> Found:
        accuracy: dict[str, float] = {}
        tables: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        for want in dict.fromkeys([POOLED, *(one.wants for one in self.evaluators.values())]):
            tables[want] = self._tables(model, want)
        for name, judge in self.evaluators.items():
            fit, test, _ = pair(*tables[judge.wants])
            verdict = judge(fit, test, seed=fold(self.seed, "probe") >> 1)
            assert verdict.scores is not None  # those that measure by themselves are refused above
            accuracy[name] = float((verdict.scores.argmax(1) == test.labels).double().mean())
        known = spectrum(tables[POOLED][0]["features"].numpy())
        return Found(known.rank, known.std, accuracy)

    def _tables(self, model: MaskedModel, want: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        fit = self._read(model, self.fit, want, self.section.train_samples)
        if self.test is not None:
            return fit, self._read(model, self.test, want, self.section.val_samples)
        side = held_out(fit["ids"])
        return {n: v[~side] for n, v in fit.items()}, {n: v[side] for n, v in fit.items()}

    def _read(self, model: MaskedModel, stream: Stream, want: str, limit: int) -> dict[str, Tensor]:
        with torch.no_grad(), Loader(
            stream, self.decode, batch_size=_BATCH, seed=self.seed, evaluate=True, limit=limit,
        ) as loader:
            made = collect(model, self.precision, loader, want=want, pool=self.section.pool)
        made["labels"] = made.pop("label").long()
        lost = int((made["labels"] == NO_LABEL).sum())
        if lost:
            raise DataError(
                f"train.probe: {lost} of {len(made['labels'])} samples have no label",
                hint="a label is an integer in the part 'cls', or 'label' in the part 'json'",
            )
        return made

    def _told(self, found: Found, step: int) -> dict[str, float]:
        section = self.section
        collapsed = found.rank < section.alarm_rank or found.std < section.alarm_std
        if collapsed:
            self.book.progress.say(
                f"COLLAPSE at step {step:,}: features have effective rank {found.rank:.2f} (alarm below "
                f"{section.alarm_rank:g}) and deviation {found.std:.2g} (alarm below {section.alarm_std:g}): "
                "the encoder hardly tells samples apart"
            )
        return {
            **{f"probe_{name}": value for name, value in found.accuracy.items()},
            "probe_rank": found.rank, "probe_std": found.std, "probe_collapse": float(collapsed),
        }


def _evaluators(section: ProbeSection, host: Host) -> dict[str, Evaluator]:
    made: dict[str, Any] = {}
    for number, spec in enumerate(section.evaluators):
        where = f"train.probe.evaluators.{number}"
        judge: Any = host.build("evaluator", spec, where=where)
        if judge.wants in ("network", "samples"):
            raise RecipeError(f"{where}: '{spec.use}' trains the network, which costs too much at a health point",
                              hint="use knn, linear or attentive here, and mmask eval for the rest")
        made[spec.use.rpartition("/")[2]] = judge
    return made
