"""Guard: what happens when numbers stop being finite, or memory runs out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mmask.errors import NonFiniteError, OutOfMemoryError
from mmask.train.scene import BatchPlans


class Guard:
    """Counts steps that were skipped because loss or gradients were not finite.

    The first few of them leave a dump (sample ids, plans, seeds, loss terms) in ``out/nonfinite``; more
    than ``budget`` stop the run with NonFiniteError.
    """

    dumps = 20

    def __init__(self, out: Path, budget: int, seed: int, rank: int = 0) -> None:
        self.out, self.budget, self.seed, self.rank = out, budget, seed, rank
        self.skipped = 0

    def skip(self, step: int, plans: BatchPlans, numbers: Mapping[str, float]) -> None:
        """Record a step that is skipped; raise when there were too many."""
        self.skipped += 1
        folder = self.out / "nonfinite"
        if self.skipped <= self.dumps:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"step-{step:08d}-rank{self.rank}.json"
            path.write_text(json.dumps(self._dump(step, plans, numbers)), encoding="utf-8")
        if self.skipped > self.budget:
            shown = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
            raise NonFiniteError(
                f"step {step}: loss or gradient is not finite ({shown}), and train.nonfinite_budget of "
                f"{self.budget} skipped steps is used up",
                hint=f"samples, plans and seeds are in {folder}; try a smaller optim.lr, optim.clip=1.0 or "
                "train.precision=fp32, or resume from the last checkpoint with one of them",
            )

    def _dump(self, step: int, plans: BatchPlans, numbers: Mapping[str, float]) -> dict[str, Any]:
        batch = plans.batch
        return {
            "step": step, "seed": self.seed, "rank": self.rank,
            "numbers": {name: str(value) for name, value in numbers.items()},
            "epoch": batch.epoch, "position": batch.position,
            "samples": [
                {"id": f"{int(word):016x}", "visit": int(visit), "name": name}
                for word, visit, name in zip(
                    batch.ids, batch.visits, batch.names or ("",) * len(batch), strict=True
                )
            ],
            "augment": {name: value.tolist() for name, value in batch.augment.items()},
            "keep_idx": {
                name: {stream: plan.keep_idx.tolist() for stream, plan in table.items()}
                for name, table in plans.plans.items()
            },
        }


def finite(numbers: Mapping[str, float]) -> bool:
    """Whether all numbers are finite."""
    return all(math.isfinite(value) for value in numbers.values())


@contextmanager
def memory_guard(rows: int, accumulate: int, device: torch.device) -> Iterator[None]:
    """Turn an allocator's failure into OutOfMemoryError with the numbers and what to change.

    rows: samples of this rank in a step. accumulate: micro-batches they are cut into.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        micro = -(-rows // accumulate)
        raise OutOfMemoryError(
            f"a micro-batch of {micro} samples does not fit on {device}: {_memory(device)}. "
            f"{str(error).splitlines()[0] if str(error) else 'allocation failed'}",
            hint=f"cut the step into smaller parts: optim.accumulate={accumulate * 2} (the same result), "
            f"or a smaller --batch-size, or --precision bf16",
        ) from error


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peak = torch.cuda.max_memory_allocated(device)
        return f"{total / 2**30:.1f} GiB in all, {free / 2**30:.1f} free, {peak / 2**30:.1f} used at the peak"
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"the process used {used:.1f} GiB at its peak"
