"""frames: a probe of what every frame of a recording is (a phone, a note, a speaker)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmask.api import DataError, Keys, Labelled, Sample, SampleError, Verdict, WeightedLayers, fold
from mmask_audio.steps import WHOLE, steps

NONE = -1


class Spans:
    """Decoder of labelled stretches of time: the field ``spans``, a list of (start, end, label) and the length of the
    whole, in seconds.

    part: a JSON part: a list of ``{"start": 0.1, "end": 0.25, "label": "ah"}``, or ``{"spans": [...], "seconds":
    1.3}``; without ``seconds`` the last end is the end of the recording. Raises SampleError.
    """

    def __init__(self, *, part: str = "spans.json") -> None:
        self.part = part

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``spans``: ([(start, end, label), ...], seconds)."""
        if self.part not in sample.parts:
            raise SampleError(
                f"{sample.id} has no part '{self.part}'; its parts are {', '.join(sorted(sample.parts))}",
                hint="name the part of the labelled stretches: labels=PART",
            )
        try:
            told = json.loads(sample.parts[self.part])
            listed = told["spans"] if isinstance(told, dict) else told
            spans = [(float(one["start"]), float(one["end"]), str(one["label"])) for one in listed]
            whole = float(told["seconds"]) if isinstance(told, dict) and "seconds" in told else max(s[1] for s in spans)
        except (ValueError, KeyError, TypeError) as error:
            raise SampleError(f"{sample.id}.{self.part}: {type(error).__name__}: {error}") from error
        return {"spans": (spans, whole)}


class FrameProbe:
    """A linear head for every frame, on a learnt weighted sum of the fixed layers of the network (SUPERB).

    Frame i of N lies at (i + 1/2) / N of the recording and has the label of the stretch it lies in; frames in none are
    left out. States are made once, recordings are read whole. labels: the JSON part with the stretches, see `Spans`.
    normalise, lrs, epochs, batch, optimizer, weight_decay, warmup, tuning, device: of the probe, as ``weighted`` has
    them; a batch is one of frames.

    Metrics: ``accuracy`` over frames, and ``balanced``, the mean of the classes' recalls. A label that training never
    had counts as missed.
    """

    wants = "samples"

    def __init__(
        self, *, labels: str = "spans.json", normalise: bool = False, lrs: Sequence[float] = (1e-3, 3e-3, 1e-2),
        epochs: int = 20, batch: int = 1024, optimizer: str = "adamw", weight_decay: float = 0.0, warmup: int = 2,
        tuning: float = 0.2, device: str = "auto",
    ) -> None:
        self.labels = labels
        self.probe = WeightedLayers(
            normalise=normalise, lrs=lrs, epochs=epochs, batch=batch, optimizer=optimizer, weight_decay=weight_decay,
            warmup=warmup, tuning=tuning, device=device,
        )

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """``accuracy`` and ``balanced``; the learning rate taken, the share of each layer, and the classes."""
        known, heard = self._frames(fit), self._frames(test)
        names = sorted({name for _, found, _ in known for name in found})
        if len(names) < 2:
            raise DataError(f"the frames to learn from have {len(names)} labels, so there is nothing to tell apart")
        ours, theirs = _labelled(known, names), _labelled(heard, names)
        judged = theirs.take((theirs.labels != NONE).nonzero()[:, 0])
        if not len(judged):
            raise DataError("no test frame has a label that training had")
        verdict = self.probe(ours, judged, seed=seed)
        assert verdict.scores is not None
        right = verdict.scores.argmax(1) == judged.labels
        recalls = [float(right[judged.labels == c].double().mean()) for c in judged.labels.unique().tolist()]
        numbers = {"accuracy": float(right.sum()) / len(theirs), "balanced": sum(recalls) / len(recalls)}
        about = {**verdict.about, "classes": names, "frames": len(ours), "test_frames": len(theirs)}
        return Verdict(None, about, numbers=numbers)

    def _frames(self, data: Labelled) -> list[tuple[Tensor, list[str], int]]:
        """(states (F, L, D) of the labelled frames, their labels, the recording's id) of every recording."""
        assert data.subject is not None and data.rows is not None
        subject = data.subject.decoding(WHOLE, {"spans": Spans(part=self.labels)})
        taps = subject.layer_taps()
        network = subject.encoder(taps=taps).eval()
        out = []
        for batch in subject.stored(data.rows, batch=16):
            with torch.inference_mode():
                encoded = network(batch)
            found, counts = steps(encoded, batch, taps)
            layers = torch.stack(found, 2).float().cpu()
            for row, count in enumerate(counts.tolist()):
                spans, whole = batch["spans"][row]
                at, names = _at_frames(spans, whole, int(count))
                out.append((layers[row, at].clone(), names, int(batch.ids[row])))
        return out


def _at_frames(spans: Sequence[tuple[float, float, str]], whole: float, count: int) -> tuple[list[int], list[str]]:
    """Frames that lie in a stretch, and its label. count: frames of the recording."""

    def lying() -> Iterator[tuple[int, str]]:
        for frame in range(count):
            time = (frame + 0.5) / count * whole
            name = next((label for start, end, label in spans if start <= time < end), None)
            if name is not None:
                yield frame, name

    found = list(lying())
    return [frame for frame, _ in found], [name for _, name in found]


def _labelled(parts: Sequence[tuple[Tensor, list[str], int]], names: Sequence[str]) -> Labelled:
    """All frames side by side; labels that are not among ``names`` are `NONE`."""
    number = {name: i for i, name in enumerate(names)}
    labels = torch.tensor([number.get(name, NONE) for _, found, _ in parts for name in found], dtype=torch.int64)
    keys = [fold(one, frame) >> 1 for _, found, one in parts for frame in range(len(found))]
    states = torch.cat([states for states, _, _ in parts])
    return Labelled(labels, len(names), torch.tensor(keys, dtype=torch.int64), layers=states)
