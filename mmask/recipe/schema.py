"""Recipe and its sections: typed data that says everything about a run.

A recipe is written as a small Python function in a plugin, stored as TOML beside every run, and changed by
dotted overrides (``optim.lr=1e-4``). Every key is documented under its field; an unknown key is an error
that names the nearest one.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from mmask.recipe.data import BucketSection, DataSection, PackSection, Source
from mmask.recipe.section import Section, Spec, use

__all__ = [
    "BucketSection", "DataSection", "NetworkSection", "ObjectiveSection", "OptimSection", "PackSection", "ProbeSection",
    "ProgramSection", "Recipe", "ScheduleSection", "Section", "Source", "Spec", "TaskSection", "TrainSection",
    "ViewSection", "use",
]


class OptimSection(Section):
    """The optimizer and its step."""

    name: str = "adamw"
    """``adamw``, or any optimizer that timm's factory knows."""
    base_lr: float | None = None
    """Learning rate at ``base_batch`` samples a step, scaled linearly with the batch."""
    base_batch: PositiveInt = 256
    """The batch that ``base_lr`` belongs to (Goyal et al. 2017)."""
    lr: float | None = None
    """The peak learning rate itself; wins over ``base_lr``."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's moment decays."""
    eps: float = 1e-8
    """Adam's epsilon."""
    weight_decay: float = 0.05
    """Decoupled weight decay of matrices."""
    weight_decay_end: float | None = None
    """Weight decay at the last step, reached on a cosine over the whole run; None keeps it constant."""
    decay_1d: bool = False
    """Whether biases, norms and other one-dimensional parameters are decayed too."""
    decay_tokens: bool = False
    """Whether what a network asks to spare ([CLS], learned positions, by timm's convention) is decayed too."""
    layer_decay: float | None = None
    """Factor of the learning rate from each layer to the one below (timm's layer groups)."""
    clip: float | None = None
    """Global gradient norm above which gradients are scaled down."""
    accumulate: PositiveInt = 1
    """Micro-batches a step is cut into."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of an optimizer of timm's factory (``{max_grad_norm = 5.0}`` of ``lamb``)."""

    @model_validator(mode="after")
    def _some_lr(self) -> OptimSection:
        if self.lr is None and self.base_lr is None:
            raise ValueError("give optim.lr or optim.base_lr")
        return self


class ScheduleSection(Section):
    """How long, and the course of the learning rate. Give ``steps``, ``tokens`` or ``epochs``; the first wins."""

    steps: PositiveInt | None = None
    """Optimizer steps."""
    tokens: PositiveInt | None = None
    """Places of packs: ``data.pack.length`` x ``data.batch_size`` of them are one step, filled or not."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the training samples."""
    kind: Literal["cosine", "linear", "constant"] = "cosine"
    """The course after warm-up."""
    warmup_epochs: float | None = Field(None, ge=0)
    """Linear warm-up from ``warmup_lr``, in epochs."""
    warmup_steps: int | None = Field(None, ge=0)
    """The same in steps; wins over ``warmup_epochs``."""
    warmup_lr: float = 0.0
    """Learning rate at step 0."""
    min_lr: float = 0.0
    """Learning rate at the end."""

    @model_validator(mode="after")
    def _some_length(self) -> ScheduleSection:
        if self.steps is None and self.epochs is None and self.tokens is None:
            raise ValueError("give schedule.steps, schedule.tokens or schedule.epochs")
        return self


class ProbeSection(Section):
    """Labelled samples on which health points measure the encoder's features while it trains."""

    train: list[str]
    """Labelled shards to fit probes on (one URL, or a list)."""
    val: list[str] = Field(default_factory=list)
    """Labelled shards to test on; without them a fifth of ``train`` is held out by sample id."""
    train_samples: int = Field(2000, ge=8)
    """At most so many of ``train``, spread evenly."""
    val_samples: int = Field(1000, ge=2)
    """At most so many of ``val``, spread evenly."""
    pool: Literal["auto", "mean", "cls"] = "auto"
    """The network's own pooling, the mean of its places, or its first token."""
    evaluators: list[Spec] = Field(default_factory=lambda: [use("knn"), use("linear", epochs=30, warmup=3)])
    """What judges the features."""
    alarm_rank: float = Field(1.5, ge=0)
    """Effective rank of the features below which the collapse alarm is raised."""
    alarm_std: float = Field(0.001, ge=0)
    """Deviation of unit features (1: spread over the sphere) below which it is raised."""

    @field_validator("train", "val", mode="before")
    @classmethod
    def _one_url(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class TrainSection(Section):
    """The engine."""

    seed: int = 0
    """Seed of order, plans, augmentation, initialisation and dropout."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``mps``."""
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    """Autocast type; parameters stay in fp32 (fp64 for tests of numbers)."""
    compile: bool = False
    """Run the model through torch.compile."""
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    """How several ranks share the work: each with the whole model, or with its part of every tensor."""
    checkpoint_activations: bool = False
    """Keep the inputs of blocks alone, and compute blocks again on the way back: less memory, the same gradients."""
    checkpoints: Literal["whole", "sharded"] = "whole"
    """Under ``fsdp2``: checkpoints put together by rank 0, or each rank's part from that rank."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights."""
    save_every: PositiveInt = 1000
    """Steps between checkpoints."""
    keep: PositiveInt = 2
    """Checkpoints kept."""
    log_every: PositiveInt = 10
    """Steps between rows of metrics.jsonl."""
    val_every: PositiveInt | None = None
    """Steps between validation losses; defaults to ``save_every``."""
    val_samples: PositiveInt = 512
    """Held-out samples of a validation loss."""
    health_every: PositiveInt | None = None
    """Steps between health points (pictures, probes); defaults to ``save_every``."""
    probe: ProbeSection | None = None
    """Labelled samples for probes at health points; without them there are pictures only."""
    nonfinite_budget: int = Field(10, ge=0)
    """Steps with a non-finite loss or gradient that may be skipped before the run stops."""
    trackers: list[Spec] = Field(default_factory=lambda: [use("tensorboard")])
    """Where numbers and pictures go beside the run folder."""


class ViewSection(Section):
    """What a network is shown: a plan applied to another view by a corruption."""

    of: str = "clean"
    """The view it is made from."""
    plan: str | None = "mask"
    """The plan that says what is hidden; None hides nothing."""
    corrupt: Spec | None = None
    """How hidden places are treated."""
    streams: list[str] | None = None
    """The streams it changes; None means all that the plan covers."""
    complement: bool = False
    """Hide what the plan keeps and keep what it hides (CAE's alignment branch)."""


class NetworkSection(Spec):
    """A network: an encoder component, its options, and how it is treated."""

    stream: str | None = None
    """The one stream it sees of a recipe with several; None shows it all of them."""
    frozen: bool = False
    """No gradients, evaluation mode, no optimizer."""
    ema_of: str | None = None
    """The network whose moving average this one is."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Decay of that average."""
    init: str | None = None
    """Weights to start from (a file, ``timm:NAME`` or a run)."""


class ObjectiveSection(Section):
    """What is learnt from a view."""

    use: str = "masked"
    """The objective component; ``masked`` predicts a target at scored places."""
    network: str = "encoder"
    """The network that encodes the view."""
    view: str = "masked"
    """The view it is learnt from."""
    stream: str | None = None
    """The stream it scores; may be left out when there is one."""
    taps: list[str] = Field(default_factory=list)
    """Internal states of the network that its head reads."""
    scored: Literal["hidden", "valid", "cells", "pooled", "signal"] = "hidden"
    """Where prediction and target are compared."""
    head: Spec | None = None
    """The head that predicts."""
    target: Spec | None = None
    """What is predicted."""
    loss: Spec | None = None
    """How they are compared."""
    weight: float = 1.0
    """Its factor in the total."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of an objective other than ``masked``."""


class TaskSection(Section):
    """Objectives that are learnt together."""

    objectives: list[str]
    """Their names."""
    ratio: float = Field(1.0, gt=0)
    """Its share when one task is drawn a step."""
    every: PositiveInt = 1
    """It is active at steps divisible by this number."""
    start: int = Field(0, ge=0)
    """It is active from this step on (LXMERT's answers, in the second half)."""


class ProgramSection(Section):
    """Which objectives a step learns from: a function of (seed, step), the same on every rank."""

    draw: Literal["all", "one"] = "all"
    """``all`` tasks that are due, or ``one`` of them by ratio."""
    tasks: dict[str, TaskSection] = Field(default_factory=dict)
    """Task name -> task; none means every objective at every step."""


class Recipe(Section):
    """A method: data, tokenizers, plans, views, networks, objectives, optimizer and schedule."""

    name: str
    """The recipe's name."""
    summary: str = ""
    """One line."""
    paper: str = ""
    """Where the method and its constants come from."""
    data: DataSection
    """Where samples come from."""
    tokenize: dict[str, Spec]
    """Stream name -> tokenizer."""
    mask: Spec | dict[str, Spec] = Field(default_factory=dict)
    """The masker, or several by plan name. A single one makes the plan ``mask``."""
    views: dict[str, ViewSection] = Field(default_factory=lambda: {"masked": ViewSection()})
    """View name -> how it is made. ``clean`` always exists."""
    networks: dict[str, NetworkSection]
    """Network name -> encoder."""
    objectives: dict[str, ObjectiveSection]
    """Objective name -> what is learnt."""
    program: ProgramSection = Field(default_factory=ProgramSection)
    """Which objectives a step learns from."""
    optim: OptimSection
    """The optimizer."""
    schedule: ScheduleSection
    """The schedule."""
    train: TrainSection = Field(default_factory=TrainSection)
    """The engine."""
    preview: Spec | None = None
    """How reconstructions are drawn."""
    exports: str = "encoder"
    """The network that ``embed``, ``eval`` and ``export`` use."""
    profiles: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Named sets of dotted overrides; ``demo`` applies when no data is given."""

    def maskers(self) -> dict[str, Spec]:
        """Plan name -> masker."""
        return {"mask": self.mask} if isinstance(self.mask, Spec) else self.mask
