"""Training heads on fixed features: one head for each learning rate, the best on held-out labels is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmask.errors import RecipeError
from mmask.evaluate.goal import Goal
from mmask.evaluate.splits import part
from mmask.keyed import fold, permutation, seeded_scope
from mmask.types import Labelled, Verdict

Inputs = Callable[[Labelled], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Course:
    """How a head is trained.

    lrs: learning rates tried. epochs, warmup: passes, and those of linear warm-up; then half a cosine.
    batch: samples of a step. optimizer: any of timm's factory. weight_decay: of matrices. tuning: the share of
    the training labels that the learning rate is chosen on.
    """

    lrs: tuple[float, ...]
    epochs: int
    batch: int
    optimizer: str
    weight_decay: float
    warmup: int
    tuning: float = 0.2

    def __post_init__(self) -> None:
        if not self.lrs or min(self.lrs) <= 0 or self.epochs < 1 or self.batch < 2 or not 0 < self.tuning < 1:
            raise RecipeError(
                "a probe needs positive lrs, epochs >= 1, batch >= 2 and a share for tuning between 0 and 1"
            )

    def lr(self, share: float) -> float:
        """The factor of the peak at ``share`` (0 to 1) of the way."""
        warm = min(self.warmup / self.epochs, 0.5)
        if share < warm:
            return share / warm
        return 0.5 * (1 + math.cos(math.pi * (share - warm) / max(1 - warm, 1e-9)))


class Probe:
    """A head on fixed inputs: ``make(classes)`` builds it, ``inputs`` says what of `Labelled` it reads."""

    def __init__(self, course: Course, make: Callable[[Labelled], nn.Module], inputs: Inputs, device: str) -> None:
        from mmask.train.precision import pick_device

        self.course, self.make, self.inputs, self.device = course, make, inputs, pick_device(device)

    def __call__(self, fit: Labelled, test: Labelled, seed: int) -> Verdict:
        """Choose the learning rate on a part of ``fit``, train on all of it, score ``test``."""
        lrs = self.course.lrs
        about: dict[str, Any] = {}
        if len(lrs) > 1:
            tune = part(Goal.of(fit).spread(fit), self.course.tuning, seed)
            if tune.any() and not tune.all():
                lrs, about = self._choose(fit, tune, seed)
            else:  # too few labels to hold any out
                lrs = (sorted(lrs)[len(lrs) // 2],)
        head = self._train(fit, lrs[:1], seed)[0]
        said: Any = getattr(head, "about", None)
        about |= {} if said is None else said()
        about = {"lr": lrs[0], "epochs": self.course.epochs, **about}
        return Verdict(Goal.of(fit).scores(self._outputs(head, test)), about)

    def _choose(self, fit: Labelled, tune: Tensor, seed: int) -> tuple[tuple[float, ...], dict[str, object]]:
        held = fit.take(tune.nonzero()[:, 0])
        known = fit.take((~tune).nonzero()[:, 0])
        heads, goal = self._train(known, self.course.lrs, seed), Goal.of(known)
        right = [goal.merit(goal.scores(self._outputs(head, held)), held.labels) for head in heads]
        best = max(range(len(heads)), key=lambda i: (right[i], -self.course.lrs[i]))
        tried = {f"{lr:g}": round(value, 4) for lr, value in zip(self.course.lrs, right, strict=True)}
        return (self.course.lrs[best],), {"tried": tried}

    def _train(self, fit: Labelled, lrs: Sequence[float], seed: int) -> list[nn.Module]:
        heads, optimizers = [], []
        for lr in lrs:
            with seeded_scope(fold(seed, "head")):  # every learning rate starts at the same point
                heads.append(self.make(fit).to(self.device).train())
            optimizers.append(self._optimizer(heads[-1], lr))
        inputs = tuple(value.to(self.device) for value in self.inputs(fit))
        labels, goal = fit.labels.to(self.device), Goal.of(fit)
        steps = list(batches(len(fit), self.course.batch, self.course.epochs, seed))
        with seeded_scope(fold(seed, "dropout")), torch.enable_grad():
            for number, index in enumerate(steps):
                at, factor = index.to(self.device), self.course.lr(number / len(steps))
                rows, truth = [value[at] for value in inputs], labels[at]
                for head, optimizer in zip(heads, optimizers, strict=True):
                    for group in optimizer.param_groups:
                        group["lr"] = group["peak"] * factor
                    optimizer.zero_grad(set_to_none=True)
                    goal.loss(head(*rows), truth).backward()
                    optimizer.step()
            for head in heads:
                _settle(head, inputs)
        return [head.eval() for head in heads]

    def _optimizer(self, head: nn.Module, lr: float) -> torch.optim.Optimizer:
        from timm.optim import create_optimizer_v2

        course = self.course
        made = create_optimizer_v2(
            head.parameters(), opt=course.optimizer, lr=lr, momentum=0.9, weight_decay=course.weight_decay
        )
        for group in made.param_groups:
            group["peak"] = lr
        return made

    @torch.no_grad()
    def _outputs(self, head: nn.Module, test: Labelled) -> Tensor:
        inputs = self.inputs(test)
        chunks = zip(*(value.split(1024) for value in inputs), strict=True)
        return torch.cat([head(*(value.to(self.device) for value in rows)).float().cpu() for rows in chunks])


@torch.no_grad()
def _settle(head: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Statistics of BatchNorm from all fit samples: its running averages still hold their start (0 and 1) after a
    short course, which would make the scale of features matter."""
    norms = [part for part in head.modules() if isinstance(part, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain averages
    chunks = max(1, len(inputs[0]) // 1024)
    for rows in zip(*(value.tensor_split(chunks) for value in inputs), strict=True):
        head.train()(*rows)


def batches(count: int, size: int, epochs: int, seed: int) -> Iterator[Tensor]:
    """Indices of each step, every sample once an epoch; no batch has a single sample (BatchNorm needs two)."""
    parts = max(1, min(-(-count // size), count // 2))
    keys = np.array([fold(seed, "order", epoch) for epoch in range(epochs)], np.uint64)
    for key in keys:
        order = torch.from_numpy(permutation(key[None], count)[0])
        yield from order.tensor_split(parts)


def whiten(width: int) -> nn.Module:
    """Normalisation of features by batch statistics, without parameters: MAE's (He et al. 2022, A.2)."""
    return nn.BatchNorm1d(width, affine=False, eps=1e-6)
