"""The verbs of what stands around the pipeline: raw files, pictures, trackers, other libraries, evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from mmask.types import (
        Batch,
        Labelled,
        Verdict,
    )


@runtime_checkable
class Packer(Protocol):
    """Turns raw files into samples for ``mmask data pack``. ``extensions`` names the files it takes.

    A packer of files that hold many samples each also offers ``records(path) -> Iterable[Record]``, what each
    sample is and where it lies in the file, and ``read(path, span, row)``, which makes one of them as ``__call__``
    does; it is then given single files too, not folders and manifests alone.

    May also have ``columns``: columns that the indices of its shards get (``("seconds=json.seconds",)``).
    """

    extensions: Sequence[str]

    def __call__(self, path: Path, row: Mapping[str, Any]) -> Mapping[str, bytes]:
        """field name -> bytes of one sample. ``row`` holds the manifest's columns (label, caption, ...)."""
        ...


@runtime_checkable
class Preview(Protocol):
    """Draws a batch, a plan or a reconstruction as a picture."""

    def __call__(self, model: Any, batch: Batch, *, plans: Any = None, predict: bool = True) -> np.ndarray:
        """(H, W, 3) uint8. ``predict`` False draws the plan alone, without running the model.

        It may also offer ``animate(model, batch, *, plans) -> (T, H, W, 3) uint8`` and ``rate``, frames a second: at
        health points that is kept beside the picture, and shown in the report.

        A preview of stored samples (``mmask data inspect``) says in ``parts`` which ones it can draw; its batch
        holds their undecoded bytes and there is no model. ``fallback = True``: only if no other preview can.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Receives logged numbers and pictures."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Scalars of one logged step."""
        ...

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """(H, W, 3) uint8."""
        ...

    def close(self) -> None:
        """Flush."""
        ...


@runtime_checkable
class WeightsFormat(Protocol):
    """Reads (and writes) another codebase's checkpoint."""

    def read(self, path: Path) -> Mapping[str, torch.Tensor]:
        """That codebase's names -> tensors, without running code from the file."""
        ...

    def load(self, model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> Iterator[str]:
        """Copy into a model; yields a line for everything missing, unexpected or resized."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """Writes the exported network in another library's form, such that it can be compared there.

    ``mmask export`` calls ``write``, runs the snippet it returns inside the folder, in a fresh process, and hands
    the names that the snippet defined to ``theirs``. Nothing is kept unless both sides agree.

    needs: modules that must be installed; extra: what pip installs to get them. dtype: ``float32`` or ``float64``,
    in which both sides are run. tolerance: the largest difference, relative to an output's largest magnitude.

    An exporter whose library can train what it wrote also offers ``peer(model, plans, folder) -> (module, loss)``: the
    network in ``folder`` as the library trains it, and a call without arguments that gives its loss of the batch of
    ``plans`` under these plans. ``mmask bench RECIPE --vs FORMAT`` lets the two take turns; for it, ``whole`` is True
    where that is an option.
    """

    needs: Sequence[str]
    extra: str
    dtype: str
    tolerance: float

    def write(self, model: Any, recipe: Any, folder: Path) -> str:
        """-> Python that loads the files. Raises ExportError for a network that the form cannot hold."""
        ...

    def inputs(self, model: Any, batch: Batch) -> Mapping[str, torch.Tensor]:
        """What both sides are run on, from an example batch."""
        ...

    def ours(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The outputs of the run's `MaskedModel`."""
        ...

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The same outputs of what the snippet loaded."""
        ...


class Subject(Protocol):
    """The encoder under evaluation and its stored samples, for evaluators that want the network itself.

    device: where it is to run.
    """

    device: torch.device

    @property
    def width(self) -> int:
        """Channels of its features."""
        ...

    def network(self, **options: Any) -> torch.nn.Module:
        """A fresh copy with the arm's weights, in evaluation mode; ``module(batch)`` -> (B, width) features
        with gradients. ``options`` replace the encoder's own in the recipe (``drop_path=0.1``)."""
        ...

    def encoder(self, *, taps: Sequence[str] = (), view: str = "clean", **options: Any) -> torch.nn.Module:
        """The same copy, answering with the whole `Encoded`, its states and taps, instead of features. view: what it
        is shown in training mode, one of the run's views, whose plans are drawn for each visit of a sample; in
        evaluation mode nothing is hidden."""
        ...

    def layer_taps(self) -> tuple[str, ...]:
        """The taps that are the network's layers, first to last. Raises UsageError when it does not name them."""
        ...

    def decoding(self, changes: Mapping[str, Any], more: Mapping[str, Any], *, alone: bool = False) -> Subject:
        """The same encoder on the same samples, decoded otherwise. changes: options that replace those of the recipe's
        decoders, each of them where it is known (``seconds=None``: no crops). more: further decoders (a transcript,
        frame labels). alone: those only."""
        ...

    def train(self, rows: torch.Tensor, *, batch: int, epochs: int, seed: int) -> Iterator[Batch]:
        """Shuffled and augmented batches on the device, class indices under ``label``, epoch after epoch."""
        ...

    def stored(self, rows: torch.Tensor, *, batch: int) -> Iterator[Batch]:
        """The samples once, in the order of ``rows``, as evaluation sees them."""
        ...

    def truth(self, batch: Batch) -> torch.Tensor:
        """(B,) what ``module(batch)`` is to be taken for: class indices, or numbers; (S,) of the labelled units, where
        these have labels of their own and the module answers (S, width)."""
        ...


class WholeModel(Protocol):
    """The model under evaluation, heads and all, and samples that it was not trained on, for evaluators that want the
    ``model``: their call is ``(whole, *, seed) -> Judged``, and no labels are asked for.

    model: a `mmask.api.MaskedModel` in evaluation mode.
    """

    model: Any

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def stored(self, count: int) -> Iterator[Batch]:
        """At most ``count`` of the samples, evenly spread, in batches on the device, in stored order."""
        ...

    def classes(self) -> Sequence[str]:
        """Names of the samples' classes, in the order of their numbers; from here on batches hold ``label`` (B,), the
        number of each sample's. Names are the labels themselves, integers as text."""
        ...

    def rewritten(self, field: str, values: Sequence[str]) -> Iterator[Batch]:
        """One of the samples, once for each value: what its JSON part says in ``field``."""
        ...

    def fresh(self) -> Any:
        """Another copy of the model, to be trained: every judgement of a seed starts from the run's weights."""
        ...

    def fitted(self) -> int:
        """How many samples there are to learn from: those of ``--data`` where ``--val`` is judged on, or the run's own.
        Raises UsageError where there are none."""
        ...

    def train(self, *, batch: int, epochs: int, seed: int) -> Iterator[Batch]:
        """Shuffled, augmented batches of these on the device, exactly ``epochs`` passes."""
        ...


@runtime_checkable
class Evaluator(Protocol):
    """Judges features, or a network, on labelled samples. ``wants`` says what `Labelled` must hold: ``pooled``
    features, those of all ``layers``, the states of all ``places``, the ``network`` itself, or the network and its
    ``samples`` without class labels, for evaluators that decode what they learn and measure it themselves. With
    ``model`` it judges a `WholeModel`."""

    wants: str

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """Learn from ``fit``, predict ``test``. ``seed`` decides every random draw. Labels of ``test`` must
        not be used: what is tuned is tuned on a part of ``fit``."""
        ...
