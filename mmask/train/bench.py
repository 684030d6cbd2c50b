"""bench: how fast a recipe trains on this machine, and how much of the machine that is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmask.recipe.resolve import Resolved
from mmask.train.build import build_model
from mmask.train.feed import Feed, plan_batch
from mmask.train.guard import Guard, memory_guard
from mmask.train.model import MaskedModel
from mmask.train.optim import make_optimizer
from mmask.train.precision import Precision, pick_device
from mmask.train.ranks import Ranks
from mmask.train.scene import BatchPlans
from mmask.train.schedule import peak_lr
from mmask.train.seed import init_scope
from mmask.train.source import StreamReader
from mmask.train.step import Stepper
from mmask.train.wrap import compile_parts

if TYPE_CHECKING:
    from pathlib import Path

    from mmask.plugin.host import Host
    from mmask.types import Layout

GEMM = {"cpu": 1536, "cuda": 8192, "mps": 4096}
DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Measured:
    """One recipe's numbers. Times are medians over rounds, in seconds; flops are of one sample, forward and
    backward (multiply and add count as two); bytes are the process's peak (the device's, on CUDA)."""

    name: str
    batch: int
    tokens: float
    parameters: int
    forward_backward: float = 0.0
    step: float = 0.0
    flops: float = 0.0
    data_wait: float | None = None
    memory: int = 0
    times: dict[str, list[float]] = field(default_factory=lambda: {"fb": [], "step": []})

    def settle(self) -> None:
        """Medians of the rounds so far."""
        self.forward_backward, self.step = median(self.times["fb"]), median(self.times["step"])


class Arm(ABC):
    """What takes turns with others: two calls that are timed, and the numbers they gave."""

    name: str
    device: torch.device
    measured: Measured

    @abstractmethod
    def forward_backward(self) -> None:
        """Forward and backward, without the optimizer."""

    @abstractmethod
    def step(self) -> None:
        """A whole step."""

    def count_flops(self) -> None:
        """Flops of one sample, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.forward_backward()
        self.measured.flops = counter.get_total_flops() / self.measured.batch

    def time_round(self) -> None:
        """One timing of each kind."""
        self.measured.times["fb"].append(timed(self.forward_backward, self.device))
        self.measured.times["step"].append(timed(self.step, self.device))

    def live(self, steps: int) -> None:
        """Some steps as they are in a run, for what only these show."""
        reset_peak(self.device)
        for _ in range(steps):
            self.step()
        self.measured.memory = peak_memory(self.device)


class Bench(Arm):
    """One recipe, ready to run a step on a batch of its own data."""

    def __init__(self, resolved: Resolved, host: Host, folder: Path) -> None:
        recipe = resolved.recipe
        self.recipe, self.device = recipe, pick_device(recipe.train.device)
        self.name = recipe.name
        self.precision = Precision.of(recipe.train.precision, self.device)
        with init_scope(recipe.train.seed):
            self.model: MaskedModel = build_model(recipe, host).train()
        self.precision.prepare(self.model)
        if recipe.train.compile:
            compile_parts(self.model)
        lr = peak_lr(recipe)[0]
        self.stepper = Stepper(
            self.model, self.model, make_optimizer(self.model, recipe.optim, lr), Ranks(), self.precision,
            Guard(folder, 10**9, recipe.train.seed), recipe.train.seed, recipe.optim.accumulate, recipe.optim.clip,
        )
        self.reader = StreamReader(recipe, host, Ranks())
        batch = next(self.reader.train(0))
        self.reader.close()
        self.plans: BatchPlans = plan_batch(self.model, self.precision, batch, 0)
        places = sum(_valid(layout) for layout in self.plans.layouts.values()) / len(batch)
        count = sum(p.numel() for p in self.model.parameters())
        self.measured = Measured(recipe.name, len(batch), places, count)

    def forward_backward(self) -> None:
        """Forward and backward, without the optimizer."""
        self.stepper.optimizer.zero_grad(set_to_none=True)
        counts = self.model.denominators(self.plans)
        with memory_guard(len(self.plans.batch), self.stepper.accumulate, self.device):
            self.stepper.backward(self.plans, counts, 0)

    def step(self) -> None:
        """A whole step: plans' denominators, forward, backward, clipping, optimizer."""
        self.stepper(self.plans, 0, 1e-5)

    @torch.no_grad()
    def loss(self) -> float:
        """Of the batch, without dropout."""
        self.model.eval()
        with self.precision.autocast():
            losses = self.model(self.plans.batch, self.plans)
        self.model.train()
        return float(losses.total(self.model.denominators(self.plans)))

    def live(self, steps: int) -> None:
        """The share of time spent waiting for data over some steps on fresh batches."""
        reset_peak(self.device)
        feed = Feed(self.reader.train(0), self.model, self.precision, 0)
        self.stepper(feed.take(), 0, 1e-5)  # workers start here
        began, waited = time.monotonic(), feed.wait
        for step in range(1, steps + 1):
            self.stepper(feed.take(), step, 1e-5, meanwhile=feed.prepare)
        self.measured.data_wait = (feed.wait - waited) / (time.monotonic() - began)
        self.measured.memory = peak_memory(self.device)
        self.reader.close()


class Peer(Arm):
    """Another library's training of the same network on the batch and the plans of a `Bench`, with its optimizer.

    module: starts from the same weights. loss: a call that gives the loss of that batch. losses: ours and theirs of
    that batch before any step.
    """

    losses: tuple[float, float]

    def __init__(self, name: str, beside: Bench, module: nn.Module, loss: Callable[[], torch.Tensor]) -> None:
        self.name, self.device, self.module, self._loss = name, beside.device, module.train(), loss
        self.precision, self.clip = beside.precision, beside.stepper.clip
        self.optimizer = make_optimizer(module, beside.recipe.optim, 1e-5)
        count = sum(p.numel() for p in module.parameters())
        self.measured = Measured(name, beside.measured.batch, beside.measured.tokens, count)

    def forward_backward(self) -> None:
        """Forward and backward, without the optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            loss = self._loss()
        loss.backward()

    def step(self) -> None:
        """Forward, backward, clipping, optimizer."""
        self.forward_backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.optimizer.step()

    @torch.no_grad()
    def loss(self) -> float:
        """Of the batch, without dropout."""
        self.module.eval()
        with self.precision.autocast():
            loss = float(self._loss())
        self.module.train()
        return loss


def run_bench(
    benches: Sequence[Arm], *, kind: torch.dtype, rounds: int, tell: Callable[[str], None]
) -> float:
    """Time all in alternation -> the GEMM peak in flop/s of products of ``kind``, the best seen between the rounds."""
    device = benches[0].device
    for bench in benches:
        tell(f"warming up {bench.name}")
        bench.count_flops()
        bench.step()
    peak = 0.0
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        peak = max(peak, gemm_peak(device, kind))
        for bench in benches if number % 2 else benches[::-1]:  # each is first as often as last
            bench.time_round()
    for bench in benches:
        bench.measured.settle()
        bench.live(max(3, rounds))
    return peak


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, the device's queue included."""
    _wait(device)
    began = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - began


def gemm_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Flop/s of the best of a few square matrix products."""
    side = GEMM.get(device.type, 2048)
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)
    best = min(timed(lambda: torch.mm(a, b), device) for _ in range(4))
    return 2 * side**3 / best


def peak_memory(device: torch.device) -> int:
    """Bytes: the device's peak on CUDA, the process's resident peak elsewhere."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak(device: torch.device) -> None:
    """Forget an earlier peak, where a device keeps one that can be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _valid(layout: Layout) -> int:
    return layout.batch * layout.length if layout.valid is None else int(layout.valid.sum())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
