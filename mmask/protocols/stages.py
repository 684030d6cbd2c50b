"""The verbs of the pipeline's own stages, from stored bytes to loss terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from mmask.keyed import Keys
    from mmask.types import (
        Batch,
        Encoded,
        Layout,
        Losses,
        MaskPlan,
        Prediction,
        Sample,
        Scored,
        Target,
        Term,
        Tokens,
        View,
    )


@runtime_checkable
class Decoder(Protocol):
    """Turns the stored parts of one sample into arrays. Runs in loader workers, one thread each.

    One that normalises may offer ``raw() -> Decoder``, itself without that: what ``mmask data stats`` measures.
    """

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """field name -> array or tensor of one sample.

        keys: the sample's keys (one row) for augmentation; None asks for the deterministic form used in
        evaluation. Numbers that describe the augmentation go under ``augment.<name>`` as a 1-D array.
        Raises `mmask.errors.SampleError` when the sample cannot be used.
        """
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Cuts a batch into tokens. A module when it learns (a convolutional front end).

    May also offer ``example(count) -> {field: tensor}``: random fields, on which exports are compared; and, when it
    draws by chance (exchanged texts), ``plain() -> Tokenizer``, itself without that: what embeddings are made with;
    and ``show(batch, row)``, one sample of its stream for people, a line of text or a picture (H, W, 3) uint8.
    """

    def layout(self, batch: Batch) -> Layout:
        """Where the tokens will lie, from shapes and lengths alone."""
        ...

    def __call__(self, batch: Batch) -> Tokens:
        """The tokens themselves."""
        ...


@runtime_checkable
class Masker(Protocol):
    """Decides what is hidden, from a layout and keys alone."""

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample: a pure function of its layout and its key."""
        ...


@runtime_checkable
class ScoredMasker(Protocol):
    """A masker that needs numbers from a model or from history. Runs in the training process.

    Its plans are drawn with the others, before the step's forward pass, so that every denominator is known:
    ``scores`` is called without gradients and in evaluation mode (VIOLET's scoring pass). Its state, if any,
    is in ``state_dict()`` and goes into the checkpoint. A plan that depends on the forward pass itself (MCL's
    second pass) is made by a corruption.
    """

    def scores(self, scene: Scene) -> Mapping[str, torch.Tensor]:
        """(B, N) scores by name, in the order of the layout that ``plan`` gets; ``scene`` holds the plans
        of plain maskers only."""
        ...

    def plan(self, layout: Layout, keys: Keys, scores: Mapping[str, torch.Tensor]) -> MaskPlan:
        """As `Masker.plan`, a pure function of the layout, the key and the scores."""
        ...


@runtime_checkable
class Corruption(Protocol):
    """Makes what a network sees. ``site`` says where: "signal", "feature" or "embedding"."""

    site: str

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Scene) -> Tokens | View:
        """The corrupted tokens of one stream of ``view``. At the signal site it goes through
        ``scene.retokenize`` with a changed batch. An edit of the sequence returns tokens that lie on
        ``plan.output.layout``. A corruption that also changes who sees whom (MP3), or makes its plan from
        earlier predictions (MCL's second pass), returns the whole view."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """A network. Sees a view and nothing else.

    It (or any module in it) may offer ``units()``, the blocks that it calls as modules: activation checkpointing and
    sharding work on these (`mmask.train.units`).
    """

    def __call__(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """The encoded view. ``taps`` names internal states to return as well."""
        ...


@runtime_checkable
class TargetMaker(Protocol):
    """Makes the truth at scored places.

    It may also offer ``trivial(target) -> Prediction``, what a predictor that has learnt nothing would say
    (validation reports its loss), and ``dim``, the number of values predicted at each place, which heads
    that are built for it read, and ``known(plans) -> (B,) bool``, the samples it knows the truth of, for targets that
    some samples lack: the others are not scored and not counted.
    """

    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """The target, one value for each scored place."""
        ...


@runtime_checkable
class Head(Protocol):
    """Predicts at scored places, and computes nothing elsewhere where it can avoid it."""

    def __call__(self, encoded: Encoded, scored: Scored) -> Prediction:
        """One value for each scored place."""
        ...


@runtime_checkable
class Loss(Protocol):
    """Compares prediction and target at the same scored places.

    It may also offer ``metrics(prediction, target) -> {name: Share or number}``, what is worth logging beside the
    term (accuracy, precision); the objective's name is put before theirs. It does not touch the loss.
    """

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """The sum over scored places and its declared denominator."""
        ...


@runtime_checkable
class Objective(Protocol):
    """One way of learning from a scene. Most are `mmask.train.objective.MaskedObjective`.

    coupling: ``none``: a sample's loss depends on that sample alone. ``group``: on its group of ``group``
    consecutive positions, never split over ranks or micro-batches (pairs, negatives). ``global``: on the
    whole batch of the step. May also have ``taps``, (network, view) -> names of the internal states it reads,
    so that one pass of a network serves every objective; and ``trivial(scene)``, the losses of one who has learnt
    nothing, which the validation loss is compared with.
    """

    coupling: str

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """term name -> the count it will report, known before the forward pass."""
        ...

    def __call__(self, scene: Scene) -> Losses:
        """The named loss terms."""
        ...


class Plans(Protocol):
    """The plans of one batch: drawn before the forward pass, or given by the caller."""

    batch: Batch

    def plan(self, name: str, stream: str | None = None) -> MaskPlan:
        """One plan, by plan name and stream."""
        ...

    def layout(self, stream: str | None = None) -> Layout:
        """The clean layout of a stream."""
        ...


class Scene(Plans, Protocol):
    """One forward pass: views and encodings are made once, when first asked for, and shared."""

    step: int
    training: bool
    keys: Keys
    predictions: dict[str, Prediction]

    def view(self, name: str) -> View:
        """A view by name; ``clean`` always exists."""
        ...

    def encode(self, network: str, view: str, *, taps: Sequence[str] = (), grad: bool = True) -> Encoded:
        """A network's output for a view, computed once. ``grad`` False makes it a constant (a teacher, CAE's
        alignment branch); frozen networks always are."""
        ...

    def predict(self, objective: str) -> Prediction:
        """An objective's prediction, made once: so a corruption reads a generator's answers."""
        ...

    def network(self, name: str) -> torch.nn.Module:
        """A network by name."""
        ...

    def retokenize(self, stream: str, batch: Batch) -> Tokens:
        """A stream's tokens of a changed batch, for corruptions of the signal."""
        ...
