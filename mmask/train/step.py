"""One optimizer step, from top to bottom in the order of the arrows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmask.train.guard import Guard, finite, memory_guard
from mmask.train.model import MaskedModel
from mmask.train.optim import set_lr
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.scene import BatchPlans
from mmask.train.seed import seed_model
from mmask.train.shard import is_sharded, whole
from mmask.train.stamp import stamp
from mmask.types import Losses, Share

Numbers = dict[str, float]
_TOKENS, _SAMPLES = ".tokens", ".samples"  # no term has a name like this


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did. terms: each loss term of the whole global batch, unweighted. stamp: see `stamp`.
    tokens, samples: valid places of its
    ragged streams, and samples, over all ranks."""

    loss: float
    terms: Numbers
    grad_norm: float
    skipped: bool
    stamp: int
    metrics: Numbers = field(default_factory=dict)
    tokens: int = 0
    samples: int = 0


@dataclass
class Stepper:
    """Everything a step needs; made once a run.

    wrapped: the model, under DDP or sharded when there are several ranks. clip: global gradient norm, None for no
    limit. averages: called after a step that was not skipped.
    """

    model: MaskedModel
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    ranks: Ranks
    precision: Precision
    guard: Guard
    seed: int
    accumulate: int = 1
    clip: float | None = None
    averages: tuple[Callable[[], None], ...] = ()

    def __call__(
        self, plans: BatchPlans, step: int, lr: float, *, meanwhile: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Run step ``step`` (from 0) on this rank's part of the global batch.

        plans: the whole step's plans; their batch is on the device. ``meanwhile`` runs while the device
        works on the gradients: it gets the next batch.
        """
        counts = self.ranks.sum_table(
            {**self.model.denominators(plans), _TOKENS: plans.tokens(), _SAMPLES: len(plans.batch)}
        )
        tokens, samples = int(counts.pop(_TOKENS)), int(counts.pop(_SAMPLES))
        mark = self.ranks.sum_words([stamp(plans)])[0]
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        rows = len(plans.batch)
        with memory_guard(rows, self.accumulate, self.precision.device):
            parts = self.backward(plans, counts, step)
            norm = self._gradient_norm()
            meanwhile()
            terms, metrics, grad_norm = self._gather(parts, counts, norm)
            loss = sum(terms[name] * weight for name, weight in _weights(parts[0]).items())
            skipped = self._apply(plans, step, {"loss": loss, "grad_norm": grad_norm, **terms})
        return Outcome(loss, terms, grad_norm, skipped, mark, metrics, tokens, samples)

    def backward(self, plans: BatchPlans, counts: Numbers, step: int) -> list[Losses]:
        """Forward and backward of every micro-batch; gradients add up in the parameters."""
        return [self._backward(i, part, counts, step) for i, part in self._cut(plans)]

    def _cut(self, plans: BatchPlans) -> Iterator[tuple[int, BatchPlans]]:
        """Micro-batches, as equal as they can be."""
        parts = self.accumulate
        if parts == 1:
            yield 0, plans
            return
        for i in range(parts):
            part = plans.batch.part(i, parts)
            yield i, plans.rows(part.start, part.stop)

    def _backward(self, micro: int, part: BatchPlans, counts: Numbers, step: int) -> Losses:
        """Forward and backward of one micro-batch. Each term is divided by the count of the whole step.

        DDP and FSDP2 average gradients over ranks where a sum is due, so the loss is multiplied by their number.
        """
        seed_model(self.seed, step, micro, self.ranks.rank)
        with self._quiet(micro):
            with self.precision.autocast():
                losses: Losses = self.wrapped(part.batch, part, step=step)
            loss = losses.total(counts) * self.ranks.world
            self.precision.scaler.scale(loss).backward()
        return losses

    def _quiet(self, micro: int) -> AbstractContextManager[Any]:
        """Gradients cross ranks once a step, with the last micro-batch."""
        last = micro == self.accumulate - 1
        if isinstance(self.wrapped, nn.parallel.DistributedDataParallel) and not last:
            return self.wrapped.no_sync()
        if is_sharded(self.wrapped):
            self.wrapped.set_requires_gradient_sync(last)  # type: ignore[operator]  # FSDP2's
        return nullcontext()

    def _gradient_norm(self) -> torch.Tensor:
        """The global norm of the unscaled gradients, after which they are clipped."""
        self.precision.scaler.unscale_(self.optimizer)
        limit = float("inf") if self.clip is None else self.clip
        params = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        grads = [p.grad for p in params]
        norm = whole(nn.utils.get_total_norm(grads))
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(params, limit, norm)
        return norm

    def _gather(
        self, parts: list[Losses], counts: Numbers, norm: torch.Tensor
    ) -> tuple[Numbers, Numbers, float]:
        """Terms of the global batch, metrics and the gradient norm, with one read of the device."""
        names = list(parts[0].terms)
        extra = list(parts[0].metrics)
        shares = [[_share(part.metrics[n]) for part in parts] for n in extra]
        kind = torch.float32 if norm.device.type == "mps" else torch.float64
        cells = [torch.stack([_scalar(p.terms[n].total, norm, kind) for p in parts]).sum() for n in names]
        for side in ("total", "count"):
            cells += [torch.stack([_scalar(getattr(s, side), norm, kind) for s in some]).sum() for some in shares]
        *values, grad_norm = torch.stack([*cells, _scalar(norm, norm, kind)]).tolist()
        values = self.ranks.sum(values)
        terms = {n: v / counts[n] if counts[n] > 0 else 0.0 for n, v in zip(names, values, strict=False)}
        rest = values[len(names) :]
        pairs = zip(extra, rest[: len(extra)], rest[len(extra) :], strict=True)
        metrics = {n: total / count for n, total, count in pairs if count > 0}
        return terms, metrics, grad_norm

    def _apply(self, plans: BatchPlans, step: int, numbers: Numbers) -> bool:
        """The optimizer's step, or none when a number is not finite. All ranks see the same numbers."""
        scaler = self.precision.scaler
        if not finite(numbers):
            scaling = scaler.is_enabled() and finite({"loss": numbers["loss"]}) and scaler.get_scale() > 1
            if scaler.is_enabled():
                scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if not scaling:  # an overflow of fp16 is answered by a smaller scale, and is no fault
                self.guard.skip(step, plans, numbers)
            return True
        scaler.step(self.optimizer)
        scaler.update()
        for average in self.averages:
            average()
        return False


def _share(value: Any) -> Share:
    """A metric as a quotient; a plain number counts as one."""
    return value if isinstance(value, Share) else Share(value, 1.0)


def _scalar(value: Any, like: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return torch.as_tensor(value).detach().to(like.device, kind).reshape(())


def _weights(losses: Losses) -> Numbers:
    return {name: term.weight for name, term in losses.terms.items()}
