"""RunSubject: a run's encoder with the weights of one arm, and the labelled shards it is judged on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import astuple, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mmask.data.loader import Loader
from mmask.data.stream import Stream, open_stream
from mmask.errors import CheckpointError, DataError, RecipeError, SampleError, UsageError
from mmask.evaluate.answers import NO_LABEL, Answers
from mmask.evaluate.backbone import Backbone
from mmask.evaluate.files import as_shards
from mmask.evaluate.subset import Subset, spread
from mmask.evaluate.units import truth_of
from mmask.plugin.options import options_of
from mmask.recipe.schema import Recipe, Source, use
from mmask.train.build import build_model
from mmask.train.checkpoint import newest
from mmask.train.embed import labelled_decoders, section_of
from mmask.train.features import LAYERS, PLACES, POOLED, collect, encode, layer_taps, places, pooled
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
        return int(self._checkpoint().name.rpartition("-")[2]) if self._trained else 0

    @property
    def _trained(self) -> bool:
        return self.arm.init == TRAINED and self.arm.features == ENCODER

    def _checkpoint(self) -> Path:
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
        if self._trained:
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

    def encoder(self, *, taps: Sequence[str] = (), **options: Any) -> nn.Module:
        """A fresh copy whose answer to a batch is its `Encoded`."""
        if self.arm.features == INPUT:
            raise UsageError("the input has no network to train", hint="leave --features away")
        model, asked = self.model(**options), tuple(taps)
        return Backbone(model, lambda batch: encode(model, self.precision, batch, asked))

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
        return _at(encoded, truth_of(model, batch, self.reading.units)[0])

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
        with self._loader(subset, batch, seed=seed, limit=epochs * len(rows)) as loader:
            yield from map(self._ready, loader)

    def stored(self, rows: Tensor, *, batch: int) -> Iterator[Batch]:
        """Once, in the order of ``rows``."""
        with self._loader(Subset(self.stream, rows.numpy()), batch, evaluate=True) as loader:
            yield from map(self._ready, loader)

    def _loader(self, subset: Subset, batch: int, seed: int = 0, **more: Any) -> Loader:
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

    def table(self, want: str) -> dict[str, Tensor]:
        """ids, labels, and what an evaluator ``wants``; features come from the run's folder when they are there."""
        made = self._features(want) if want in (POOLED, PLACES, LAYERS) else self._listed(want)
        labels = made["labels"] = made.pop("label")
        lost = int((labels.isnan() if labels.is_floating_point() else labels == NO_LABEL).sum())
        if lost:
            raise DataError(
                f"{lost:,} of {len(made['labels']):,} samples of {self.name} have no label",
                hint=f"evaluation needs '{self.answers.field}' in the part 'json' (--label names another field), or an "
                     "integer in the part 'cls'",
            )
        return made

    @property
    def name(self) -> str:
        """The shards, for messages and files."""
        return " ".join(source.url for source in self.section.train)

    def _listed(self, want: str) -> dict[str, Tensor]:
        """Which samples there are, and their labels, without decoding: ``rows`` are the stored positions. Labels are 0
        where they are the units', or nothing that `Answers` reads."""
        ids: list[int] = []
        rows, labels = [], []
        unread = want == SAMPLES or self.answers.units
        for one in self.stream.locate_stored(self.rows):
            try:
                sample = self.stream.sample(one)
            except SampleError:
                continue
            ids.append(sample.id.digest())
            rows.append(one.position)
            labels.append(0 if unread else self.answers(sample, None)["label"])
        known = torch.from_numpy(np.array(ids, np.uint64).view(np.int64).copy())
        told = torch.from_numpy(np.array(labels))
        return {"ids": known, "rows": torch.tensor(rows, dtype=torch.int64), "label": told}

    def _features(self, want: str) -> dict[str, Tensor]:
        from safetensors.torch import load_file, save_file

        told = self._told(want)
        key = blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=10).hexdigest()
        path = self.arm.run / "features" / f"{want}-{key}.safetensors"
        if self.reading.cache and path.is_file():
            return load_file(path)
        model = self.model()
        with self._loader(Subset(self.stream, self.rows), self.reading.batch, evaluate=True) as loader:
            made = self._units(model, loader, want) if self.answers.units else collect(
                model, self.precision, loader, want=want, pool=self.arm.pool, of_input=self.arm.features == INPUT
            )
        if self.reading.cache:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}.part")
            about = {"of": json.dumps(told, default=str)}
            save_file({name: value.contiguous() for name, value in made.items()}, aside, metadata=about)
            aside.replace(path)
        return made

    @torch.inference_mode()
    def _units(self, model: MaskedModel, loader: Loader, want: str) -> dict[str, Tensor]:
        """States of the labelled units, one after another, with the ids of their samples; of every layer where that is
        what is wanted."""
        if self.arm.features == INPUT:
            raise UsageError("labels of units are judged by states", hint="use --init random as the floor")
        made: list[tuple[Tensor, Tensor, Tensor]] = []
        taps = layer_taps(model.encoder) if want == LAYERS else ()
        for one in loader:
            batch = self.precision.cast(one)
            index, truth = truth_of(model, batch, self.reading.units)
            encoded = encode(model, self.precision, batch, taps)
            each = [replace(encoded, state=encoded.taps[tap]) for tap in taps]
            states = torch.stack([_at(layer, index) for layer in each], 1) if taps else _at(encoded, index)
            length = next(iter(model.layouts(batch).values())).length
            made.append((states.float().cpu(), truth, torch.from_numpy(one.ids.view(np.int64))[index // length]))
        if not made:
            raise DataError("no sample could be read", hint="look at the shards with: mmask data inspect URL")
        states, labels, ids = (torch.cat(parts) for parts in zip(*made, strict=True))
        return {"layers" if taps else "features": states, "label": labels, "ids": ids}

    def _told(self, want: str) -> dict[str, Any]:
        """Everything cached features depend on."""
        weights: list[Any] = [self.recipe.train.seed]
        if self._trained:
            checkpoint = self._checkpoint()
            manifest = (checkpoint / "manifest.json").read_bytes()
            weights = [checkpoint.name, blake2b(manifest, digest_size=10).hexdigest()]
        recipe = self.recipe.model_dump(mode="json", include={"tokenize", "networks", "exports"})
        decode = {name: spec.model_dump(mode="json") for name, spec in self.recipe.data.decode.items()}
        return {
            "init": self.arm.init, "features": self.arm.features, "weights": weights, "want": want,
            "pool": self.arm.pool, "data": [source.stamp() for source in self.stream.sources],
            "limit": self.reading.limit, "recipe": recipe, "decode": decode, "precision": self.precision.name,
            "plugins": self.host.versions(), "answers": [*astuple(self.answers), self.reading.units],
            "longest": None if self.recipe.data.pack is None else self.recipe.data.pack.length,
        }


def _at(encoded: Encoded, index: Tensor) -> Tensor:
    """(S, D) states at the flat indices (S,) of places."""
    states, _ = places(encoded)
    return states.flatten(0, 1)[index.to(states.device)]
