"""What the speed benchmarks of networks share: arms in processes of their own that take turns, and what they tell.

An arm's process serves: for each line that it reads it takes one optimizer step and prints its numbers as a line of
JSON. Arms alternate, so that other work on the machine meets all of them, and the peak memory of each is its own. CPU
seconds are user and system time over all threads; with one thread, other work hardly moves them.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Rows = dict[str, list[dict[str, Any]]]
KEYS = {
    "both": "forward + backward", "step": "step",
    "cpu_both": "CPU s, forward + backward", "cpu_step": "CPU s, step",
}


def answer(loss_of: Callable[[int], Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Serve: a step for each line read. Seconds of it from its start to the end of the forward pass (``ahead``), of the
    backward pass (``both``) and of the optimizer (``step``), the same of the processor, and MiB."""
    before = _peak()
    for turn, _ in enumerate(sys.stdin):
        optimizer.zero_grad(set_to_none=True)
        marks = [(time.perf_counter(), time.process_time())]
        loss = loss_of(turn)
        marks.append((time.perf_counter(), time.process_time()))
        loss.backward()
        marks.append((time.perf_counter(), time.process_time()))
        optimizer.step()
        marks.append((time.perf_counter(), time.process_time()))
        told = {"peak": _peak(), "before": before, "loss": float(loss.detach())}
        for name, (wall, cpu) in zip(("ahead", "both", "step"), marks[1:], strict=True):
            told |= {name: wall - marks[0][0], f"cpu_{name}": cpu - marks[0][1]}
        print(json.dumps(told), flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def take_turns(
    script: str, arms: Sequence[str], flags: Sequence[str], turns: int, *, between: Callable[[], None] = lambda: None
) -> Rows:
    """Start ``script --serve ARM`` for every arm and let them take ``turns`` turns, forwards and backwards -> the
    numbers of each. between: called before every round."""
    made = {
        name: subprocess.Popen([sys.executable, script, "--serve", name, *flags], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in arms
    }
    rows: Rows = {name: [] for name in arms}
    try:
        for turn in range(turns):
            between()
            for name in arms if turn % 2 else arms[::-1]:
                rows[name].append(_ask(made[name]))
    finally:
        for process in made.values():
            process.kill()
            process.wait()
    return rows


def _ask(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


def gflop(loss_of: Callable[[int], Tensor]) -> float:
    """GFLOP of products and attention of a forward and backward pass, counted as they are run."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_of(0).backward()
    return float(counter.get_total_flops() / 1e9)


def low(made: Sequence[Mapping[str, Any]], key: str) -> float:
    """The best round."""
    return float(min(row[key] for row in made))


def middle(made: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median round."""
    return float(statistics.median(row[key] for row in made))


def most(made: Sequence[Mapping[str, Any]], key: str = "peak") -> float:
    """The largest of the rounds."""
    return float(max(row[key] for row in made))


def against_first(rows: Rows, more: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """Markdown: every other arm's time over the first one's, of the best rounds, and the median over rounds. more:
    title -> arm -> a number whose quotients are told beside."""
    more = more or {}
    first = next(iter(rows))
    titles = [*KEYS.values(), *more]
    lines = [f"| against {first} | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name in list(rows)[1:]:
        cells = []
        for key in KEYS:
            pairs = zip(rows[first], rows[name], strict=True)
            median = statistics.median(theirs[key] / ours[key] for ours, theirs in pairs)
            cells.append(f"{low(rows[name], key) / low(rows[first], key):.2f} (median {median:.2f})")
        cells += [f"{numbers[name] / numbers[first]:.2f}" for numbers in more.values()]
        lines.append(f"| {name} / {first} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
