"""Tables of an evaluation: ids, labels, and features, which are kept in the run's folder."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.data.loader import Loader
from mmask.errors import DataError, SampleError, UsageError
from mmask.evaluate.answers import NO_LABEL
from mmask.evaluate.subject import INPUT, SAMPLES, RunSubject
from mmask.evaluate.subset import Subset
from mmask.evaluate.units import at_places, truth_of
from mmask.train.features import LAYERS, PLACES, POOLED, collect, encode, layer_taps
from mmask.train.model import MaskedModel


def read_table(subject: RunSubject, want: str) -> dict[str, Tensor]:
    """ids, labels, and what an evaluator ``wants``; features come from the run's folder when they are there."""
    made = _features(subject, want) if want in (POOLED, PLACES, LAYERS) else _listed(subject, want)
    labels = made["labels"] = made.pop("label")
    lost = int((labels.isnan() if labels.is_floating_point() else labels == NO_LABEL).sum())
    if lost:
        raise DataError(
            f"{lost:,} of {len(made['labels']):,} samples of {subject.name} have no label",
            hint=f"evaluation needs '{subject.answers.field}' in the part 'json' (--label names another field), or an "
                 "integer in the part 'cls'",
        )
    return made


def _listed(subject: RunSubject, want: str) -> dict[str, Tensor]:
    """Which samples there are, and their labels, without decoding: ``rows`` are the stored positions. Labels are 0
    where they are the units', or nothing that `Answers` reads."""
    ids: list[int] = []
    rows, labels = [], []
    unread = want == SAMPLES or subject.answers.units
    for one in subject.stream.locate_stored(subject.rows):
        try:
            sample = subject.stream.sample(one)
        except SampleError:
            continue
        ids.append(sample.id.digest())
        rows.append(one.position)
        labels.append(0 if unread else subject.answers(sample, None)["label"])
    known = torch.from_numpy(np.array(ids, np.uint64).view(np.int64).copy())
    told = torch.from_numpy(np.array(labels))
    return {"ids": known, "rows": torch.tensor(rows, dtype=torch.int64), "label": told}


def _features(subject: RunSubject, want: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file, save_file

    told = _told(subject, want)
    key = blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=10).hexdigest()
    path = subject.arm.run / "features" / f"{want}-{key}.safetensors"
    if subject.reading.cache and path.is_file():
        return load_file(path)
    model = subject.model()
    with subject.loader(Subset(subject.stream, subject.rows), subject.reading.batch, evaluate=True) as loader:
        made = _units(subject, model, loader, want) if subject.answers.units else collect(
            model, subject.precision, loader, want=want, pool=subject.arm.pool, of_input=subject.arm.features == INPUT
        )
    if subject.reading.cache:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")
        about = {"of": json.dumps(told, default=str)}
        save_file({name: value.contiguous() for name, value in made.items()}, aside, metadata=about)
        aside.replace(path)
    return made


@torch.inference_mode()
def _units(subject: RunSubject, model: MaskedModel, loader: Loader, want: str) -> dict[str, Tensor]:
    """States of the labelled units, one after another, with the ids of their samples; of every layer where that is
    what is wanted."""
    if subject.arm.features == INPUT:
        raise UsageError("labels of units are judged by states", hint="use --init random as the floor")
    made: list[tuple[Tensor, Tensor, Tensor]] = []
    taps = layer_taps(model.encoder) if want == LAYERS else ()
    for one in loader:
        batch = subject.precision.cast(one)
        index, truth = truth_of(model, batch, subject.reading.units)
        encoded = encode(model, subject.precision, batch, taps)
        each = [replace(encoded, state=encoded.taps[tap]) for tap in taps]
        states = torch.stack([at_places(layer, index) for layer in each], 1) if taps else at_places(encoded, index)
        length = next(iter(model.layouts(batch).values())).length
        made.append((states.float().cpu(), truth, torch.from_numpy(one.ids.view(np.int64))[index // length]))
    if not made:
        raise DataError("no sample could be read", hint="look at the shards with: mmask data inspect URL")
    states, labels, ids = (torch.cat(parts) for parts in zip(*made, strict=True))
    return {"layers" if taps else "features": states, "label": labels, "ids": ids}


def _told(subject: RunSubject, want: str) -> dict[str, Any]:
    """Everything cached features depend on."""
    weights: list[Any] = [subject.recipe.train.seed]
    if subject.trained:
        checkpoint = subject.checkpoint()
        manifest = (checkpoint / "manifest.json").read_bytes()
        weights = [checkpoint.name, blake2b(manifest, digest_size=10).hexdigest()]
    recipe = subject.recipe.model_dump(mode="json", include={"tokenize", "networks", "exports"})
    decode = {name: spec.model_dump(mode="json") for name, spec in subject.recipe.data.decode.items()}
    return {
        "init": subject.arm.init, "features": subject.arm.features, "weights": weights, "want": want,
        "pool": subject.arm.pool, "data": [source.stamp() for source in subject.stream.sources],
        "limit": subject.reading.limit, "recipe": recipe, "decode": decode, "precision": subject.precision.name,
        "plugins": subject.host.versions(), "answers": [*astuple(subject.answers), subject.reading.units],
        "longest": None if subject.recipe.data.pack is None else subject.recipe.data.pack.length,
    }
