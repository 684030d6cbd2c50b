"""Keeper: the state of a run to a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmask.errors import CheckpointError
from mmask.train.checkpoint import Checkpoint, Tensors, save
from mmask.train.ema import Average
from mmask.train.loop import Loop
from mmask.train.model import MaskedModel
from mmask.train.optim import pack_state, unpack_state
from mmask.train.precision import Precision


@dataclass
class Keeper:
    """Saves model, average, optimizer and everything that is counted. No generator state: there is none.

    about: what a checkpoint also says, for readers (recipe name, versions, batch).
    """

    folder: Path
    model: MaskedModel
    optimizer: torch.optim.Optimizer
    precision: Precision
    average: Average | None = None
    keep: int = 2
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, loop: Loop) -> Path:
        """Write a checkpoint of the steps done. Raises CheckpointError when it cannot be written."""
        tensors: dict[str, Tensors] = {"model": dict(self.model.state_dict())}
        if self.average is not None:
            tensors["ema"] = dict(self.average.average.state_dict())
        tensors["optimizer"], scalars = pack_state(self.optimizer)
        state = {
            **self.about, "optimizer": scalars, "scaler": self.precision.scaler.state_dict(),
            "stamp": f"{loop.stamps:016x}", "position": loop.done * loop.course.batch,
            "epoch": loop.course.epoch(loop.done), "skipped": loop.stepper.guard.skipped,
            "samples": loop.samples, "tokens": loop.tokens,
            "schedule": {"steps": loop.course.steps, "lr": loop.course.lr(loop.done)},
        }
        return save(self.folder, Checkpoint(loop.done, tensors, state), keep=self.keep)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's tensors where they were. Raises CheckpointError when they do not fit."""
        try:
            self.model.load_state_dict(checkpoint.tensors["model"])
            if self.average is not None:
                known = checkpoint.tensors.get("ema")
                if known is None:
                    self.average.start()
                else:
                    self.average.average.load_state_dict(known)
            unpack_state(
                self.optimizer, dict(checkpoint.tensors.get("optimizer", {})), checkpoint.state["optimizer"]
            )
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint of step {checkpoint.step} does not fit this recipe: {str(error).strip()[:600]}",
                hint="resume with the run's own recipe, or start a new run from its weights with --init",
            ) from error
        if self.precision.scaler.is_enabled() and checkpoint.state.get("scaler"):
            self.precision.scaler.load_state_dict(checkpoint.state["scaler"])
