"""Keeper: the state of a run to a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmask.errors import CheckpointError
from mmask.train.checkpoint import Checkpoint, Tensors, save, stored
from mmask.train.ema import Average
from mmask.train.loop import Loop
from mmask.train.model import MaskedModel
from mmask.train.optim import pack_state, state_like, unpack_state
from mmask.train.parts import split, write_parts
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.shard import fill, gathered, is_sharded


@dataclass
class Keeper:
    """Saves model, average, optimizer and everything that is counted. No generator state: there is none.

    about: what a checkpoint also says, for readers (recipe name, versions, batch). parts: a sharded model is written
    in parts, by all ranks; otherwise rank 0 writes all of it. Either can be read by any number of ranks.
    """

    folder: Path
    model: MaskedModel
    optimizer: torch.optim.Optimizer
    precision: Precision
    average: Average | None = None
    keep: int = 2
    about: Mapping[str, Any] = field(default_factory=dict)
    ranks: Ranks = field(default_factory=Ranks)
    parts: bool = False

    def save(self, loop: Loop) -> None:
        """Write a checkpoint of the steps done; every rank calls it. Raises CheckpointError when it cannot be
        written."""
        sharded = is_sharded(self.model)
        if not sharded and not self.ranks.first:
            return
        tensors, scalars = self._tensors()
        state = {
            **self.about, "optimizer": scalars, "scaler": self.precision.scaler.state_dict(),
            "stamp": f"{loop.stamps:016x}", "position": loop.done * loop.course.batch,
            "epoch": loop.course.epoch(loop.done), "skipped": loop.stepper.guard.skipped,
            "samples": loop.samples, "tokens": loop.tokens,
            "schedule": {"steps": loop.course.steps, "lr": loop.course.lr(loop.done)},
        }
        if sharded and self.parts:
            self._save_parts(Checkpoint(loop.done, tensors, state))
            return
        if sharded:
            tensors = {stem: gathered(table, keep=self.ranks.first) for stem, table in tensors.items()}
        if self.ranks.first:
            save(self.folder, Checkpoint(loop.done, tensors, state), keep=self.keep)

    def _tensors(self) -> tuple[dict[str, Tensors], dict[str, Any]]:
        """File stem -> tensors as they lie here, tied ones as one object; and the optimizer's plain values."""
        tensors: dict[str, Tensors] = {"model": dict(self.model.state_dict(keep_vars=True))}
        if self.average is not None:
            tensors["ema"] = dict(self.average.average.state_dict(keep_vars=True))
        tensors["optimizer"], scalars = pack_state(self.optimizer)
        return tensors, scalars

    def _save_parts(self, checkpoint: Checkpoint) -> None:
        """Rank 0 makes the folder and signs it; in between, every rank writes its parts."""
        tables = {stem: split(table) for stem, table in checkpoint.tensors.items()}

        def beside(aside: Path | str) -> None:
            told = self.ranks.share(str(aside))  # nothing, where rank 0 had nothing to write
            for stem, (mine, _, _) in tables.items():
                if told and mine:
                    write_parts(Path(told) / stem, mine)

        if not self.ranks.first:
            beside("")
            return
        rest = {stem: others for stem, (_, others, _) in tables.items() if others}
        tied = {stem: names for stem, (_, _, names) in tables.items()}
        whole = Checkpoint(checkpoint.step, rest, {**checkpoint.state, "tied": tied})
        if stored(self.folder, whole.step):
            beside("")
        else:
            save(self.folder, whole, keep=self.keep, beside=beside)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint's tensors where they were. Raises CheckpointError when they do not fit."""
        try:
            fill(self.model, checkpoint.table("model", self.model.state_dict()) or {})
            if self.average is not None:
                known = checkpoint.table("ema", self.average.average.state_dict())
                if known is None:
                    self.average.start()
                else:
                    fill(self.average.average, known)
            tensors = checkpoint.table("optimizer", state_like(self.optimizer)) or {}
            unpack_state(self.optimizer, tensors, checkpoint.state["optimizer"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint of step {checkpoint.step} does not fit this recipe: {str(error).strip()[:600]}",
                hint="resume with the run's own recipe, or start a new run from its weights with --init",
            ) from error
        if self.precision.scaler.is_enabled() and checkpoint.state.get("scaler"):
            self.precision.scaler.load_state_dict(checkpoint.state["scaler"])
