"""RunSubject: a run's encoder with the weights of one arm, and the labelled shards it is judged on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mmask.data.loader import Loader
from mmask.data.stream import Stream, open_stream
from mmask.errors import CheckpointError, RecipeError, SampleError, UsageError, did_you_mean
from mmask.evaluate.answers import Answers
from mmask.evaluate.backbone import Backbone
from mmask.evaluate.files import as_shards
from mmask.evaluate.subset import Subset, spread
from mmask.evaluate.units import at_places, truth_of
from mmask.plugin.options import options_of
from mmask.recipe.schema import Recipe, Source, use
from mmask.train.build import build_model
from mmask.train.checkpoint import newest
from mmask.train.embed import labelled_decoders, section_of
from mmask.train.features import encode, layer_taps, pooled
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision, pick_device
from mmask.train.revive import load_resolved
from mmask.train.seed import init_scope
from mmask.train.weights import run_weights
from mmask.types import Batch, Encoded, Sample

if TYPE_CHECKING:
    from mmask.plugin.host import Host

RANDOM, TRAINED = "random", "trained"
INPUT, ENCODER = "input", "encoder"
SAMPLES = "samples"


@dataclass(frozen=True, slots=True)
class Arm:
    """What is judged: a run's weights, or one of the two floors.

    init: ``trained``, or ``random``: the weights the recipe draws from its seed. features: of the ``encoder``,
    or the ``input`` itself (the tokens' values; no network). pool: see `mmask.train.features.pooled`.
    """

    run: Path
    init: str = TRAINED
    features: str = ENCODER
    pool: str = "auto"

    @property
    def label(self) -> str:
        """For tables: the run's folder name, and what is different about the arm."""
        floor = "input" if self.features == INPUT else "random initialisation" if self.init == RANDOM else ""
        return f"{self.run.name}, {floor}" if floor else self.run.name


@dataclass(frozen=True, slots=True)
class Reading:
    """How samples are read. limit: at most so many of each set, evenly spread. overrides: ``data.decode...=value`` of
    the run's recipe. answers: where labels are. units: the group of places that labels of units belong to."""

    batch: int = 64
    workers: int = 0
    device: str = "auto"
    limit: int | None = None
    cache: bool = True
    overrides: tuple[str, ...] = ()
    answers: Answers = field(default_factory=Answers)
    units: str = ""


class RunSubject:
    """A `mmask.protocols.Subject`. data: URLs of one labelled set; none are the run's own.

    held_out: the run's own held-out shards, where ``data`` is empty.
    """

    def __init__(
        self, arm: Arm, host: Host, reading: Reading, data: tuple[str, ...] = (), *, held_out: bool = False
    ) -> None:
        self.arm, self.host, self.reading = arm, host, reading
        self.recipe: Recipe = load_resolved(arm.run, host, reading.overrides).recipe
        self.precision = Precision.of(self.recipe.train.precision, pick_device(reading.device))
        self.device = self.precision.device
        section = section_of(self.recipe, host, [self._shards(url) for url in data])
        if held_out:
            if not section.val:
                raise UsageError(f"{arm.run} has no held-out data", hint="give --val URL")
            named = [Source.model_validate(source.model_dump()) for source in section.val]
            section = section.model_copy(update={"train": named, "val": []})
        self.section = section
        self.stream: Stream = open_stream(section, seed=self.recipe.train.seed)
        self.rows = spread(len(self.stream), reading.limit)
        self.classes: np.ndarray | None = None
        self.decoders: dict[str, Any] = labelled_decoders(self.recipe, host)
        self.answers, self._width = reading.answers, 0
        self._front: MaskedModel | None = None

    @property
    def width(self) -> int:
        """Channels of the pooled features."""
        if not self._width:
            model = self.model()
            with torch.no_grad():
                one = next(self.stored(torch.from_numpy(self.rows[:1]), batch=1))
                self._width = self._answer(model, one, self.arm.pool).shape[1]
        return self._width

    @property
    def step(self) -> int:
        """Steps of the checkpoint; 0 for a floor."""
        return int(self.checkpoint().name.rpartition("-")[2]) if self.trained else 0

    @property
    def trained(self) -> bool:
        """Whether the arm has the weights of a checkpoint."""
        return self.arm.init == TRAINED and self.arm.features == ENCODER

    def checkpoint(self) -> Path:
        """The run's newest one. Raises CheckpointError where there is none."""
        found = newest(self.arm.run / "checkpoints")
        if found is None:
            raise CheckpointError(f"{self.arm.run} has no checkpoint", hint="is it a run's folder?")
        return found

    def model(self, **options: Any) -> MaskedModel:
        """The arm's model in evaluation mode, its exported network trainable. options: of its encoder."""
        name = self.recipe.exports
        section = self.recipe.networks[name]
        known = options_of(self.host.target("encoder", section.use))
        for option in options:
            if option not in known:
                raise RecipeError(
                    f"encoder '{section.use}' has no option '{option}'", hint=f"its options are {', '.join(known)}"
                )
        free = section.model_copy(update={**options, "frozen": False, "ema_of": None})
        recipe = self.recipe.model_copy(update={"networks": {**self.recipe.networks, name: free}})
        with init_scope(recipe.train.seed):
            model = build_model(recipe, self.host)
        if self.trained:
            try:
                model.load_state_dict(run_weights(self.arm.run))
            except RuntimeError as error:
                raise CheckpointError(f"the checkpoint of {self.arm.run} does not fit: {error}") from error
        self.precision.prepare(model)
        return model.eval()

    def network(self, **options: Any) -> nn.Module:
        """A fresh copy whose answer to a batch is (B, width) pooled features."""
        if self.arm.features == INPUT:
            raise UsageError("the input has no network to train", hint="leave --features away")
        model = self.model(**options)
        kind = self._kind(model)
        return Backbone(model, lambda batch: self._answer(model, batch, kind))

    def encoder(self, *, taps: Sequence[str] = (), view: str = "clean", **options: Any) -> nn.Module:
        """A fresh copy whose answer to a batch is its `Encoded`."""
        if self.arm.features == INPUT:
            raise UsageError("the input has no network to train", hint="leave --features away")
        model, asked = self.model(**options), tuple(taps)
        if view not in ("clean", *model.view_makers):
            there = ", ".join(model.view_makers)
            raise UsageError(f"the run has no view '{view}'{did_you_mean(view, model.view_makers)}; it has {there}")

        def answer(batch: Batch) -> Encoded:
            return encode(model, self.precision, batch, asked, view if model.encoder.training else "clean")

        return Backbone(model, answer)

    def layer_taps(self) -> tuple[str, ...]:
        """The names of the network's layers."""
        return layer_taps(self.model().encoder)

    def decoding(self, changes: Mapping[str, Any], more: Mapping[str, Any], *, alone: bool = False) -> RunSubject:
        """A copy that decodes otherwise."""
        made: dict[str, Any] = {}
        for name, spec in () if alone else self.recipe.data.decode.items():
            known = options_of(self.host.target("decoder", spec.use))
            changed = {option: value for option, value in changes.items() if option in known}
            there = use(spec.use, **{**spec.options(), **changed})
            made[name] = self.host.build("decoder", there, where=f"data.decode.{name}")
        other = copy(self)
        other.decoders = {**made, **more}
        return other

    def _answer(self, model: MaskedModel, batch: Batch, kind: str) -> Tensor:
        """(B, width), or (S, width) at the labelled units' first places."""
        encoded = encode(model, self.precision, batch)
        if not self.answers.units:
            return pooled(encoded, kind)
        return at_places(encoded, truth_of(model, batch, self.reading.units)[0])

    def truth(self, batch: Batch) -> Tensor:
        """(B,) labels, or (S,) of the labelled units."""
        if not self.answers.units:
            return batch["label"]
        if self._front is None:
            self._front = self.model()
        return truth_of(self._front, batch, self.reading.units)[1].to(self.device)

    def _shards(self, url: str) -> str:
        """A labelled file as shards."""
        shared: dict[str, Any] = {}
        for spec in self.recipe.data.decode.values():
            shared |= spec.options()
        if shared.get("words"):  # the text of such samples is the list of its words
            shared["field"] = shared["words"]
        return as_shards(url, self.host, self.arm.run / "eval" / "data", shared)

    def samples(self) -> Iterator[Sample]:
        """The undecoded samples, without those that cannot be read."""
        for one in self.stream.locate_stored(self.rows):
            with suppress(SampleError):
                yield self.stream.sample(one)

    @torch.no_grad()
    def _kind(self, model: MaskedModel) -> str:
        """What ``auto`` means. Networks may leave their own pooling out while they train, so it is looked up in
        evaluation mode and asked for by its name."""
        if self.arm.pool != "auto":
            return self.arm.pool
        with self.precision.autocast():
            batch = next(self.stored(torch.from_numpy(self.rows[:1]), batch=1))
            encoded = model.scene(batch, {}).encode(model.exports, "clean")
        if encoded.pooled is None:
            return "mean"
        for kind in ("mean", *(("cls",) if encoded.prefix and encoded.state is not None else ())):
            other = pooled(encoded, kind)
            if other.shape == encoded.pooled.shape and torch.allclose(other, encoded.pooled, rtol=1e-3, atol=1e-4):
                return kind
        return "auto"  # a pooling of its own kind, which it has to offer while it trains

    def train(self, rows: Tensor, *, batch: int, epochs: int, seed: int) -> Iterator[Batch]:
        """Shuffled, augmented, exactly ``epochs`` passes."""
        subset = Subset(self.stream, rows.numpy(), seed)
        with self.loader(subset, batch, seed=seed, limit=epochs * len(rows)) as loader:
            yield from map(self._ready, loader)

    def stored(self, rows: Tensor, *, batch: int) -> Iterator[Batch]:
        """Once, in the order of ``rows``."""
        return self.read(Subset(self.stream, rows.numpy()), batch)

    def read(self, subset: Subset, batch: int) -> Iterator[Batch]:
        """Samples of a subset as evaluation sees them, in batches on the device."""
        with self.loader(subset, batch, evaluate=True) as loader:
            yield from map(self._ready, loader)

    def loader(self, subset: Subset, batch: int, seed: int = 0, **more: Any) -> Loader:
        """Samples of ``subset`` as batches on the host. more: of the `Loader`."""
        return Loader(
            subset, self._decoders(), batch_size=batch,  # type: ignore[arg-type]  # a subset reads as a stream
            workers=self.reading.workers, seed=seed, fault_budget=self.section.fault_budget, **more,
        )

    def _decoders(self) -> dict[str, Any]:
        """Labels are read by what is known of them by now; who decodes otherwise reads none."""
        return {**self.decoders, "label": self.answers} if "label" in self.decoders else self.decoders

    def _ready(self, batch: Batch) -> Batch:
        if self.classes is not None and not self.answers.units:
            batch = batch.with_field("label", torch.from_numpy(np.searchsorted(self.classes, batch["label"].numpy())))
        return self.precision.cast(batch)

    @property
    def name(self) -> str:
        """The shards, for messages and files."""
        return " ".join(source.url for source in self.section.train)
