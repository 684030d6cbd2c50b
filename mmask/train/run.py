"""A run, from a resolved recipe to the end: what is made, in which order, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from mmask.data.faults import read_ledger
from mmask.errors import MmaskError
from mmask.observe.metrics import MetricsFile, read_rows
from mmask.observe.progress import RunProgress
from mmask.observe.report import write_report
from mmask.train import brief
from mmask.train.again import own_origins
from mmask.train.build import build_model
from mmask.train.cadence import Cadence
from mmask.train.checkpoint import Checkpoint, load, newest
from mmask.train.ema import Average
from mmask.train.feed import Feed
from mmask.train.folder import RunFolder, cut_files, cut_ledger, writing
from mmask.train.guard import Guard
from mmask.train.health import Health
from mmask.train.job import Job, Result, RunInfo, open_folder
from mmask.train.keeper import Keeper
from mmask.train.logbook import Logbook
from mmask.train.loop import DONE, Loop
from mmask.train.model import MaskedModel
from mmask.train.optim import check_optimizer, make_optimizer
from mmask.train.precision import Precision, pick_device
from mmask.train.probe import Probe
from mmask.train.ranks import Ranks
from mmask.train.schedule import course
from mmask.train.seed import init_scope
from mmask.train.signals import Signals
from mmask.train.stamp import START, StampFile
from mmask.train.step import Stepper
from mmask.train.validate import Validation
from mmask.train.weights import init_model, starting_weights
from mmask.train.wrap import wrap
from mmask.types import Batch


def train(job: Job) -> Result:
    """Run or continue a run. Every rank calls it."""
    recipe = job.resolved.recipe
    check_optimizer(recipe.optim)  # before a folder is made, or a line said
    ranks, outcome = Ranks.start(recipe.train.device), "failed"
    with ExitStack() as stack:
        stack.callback(ranks.close)
        signals = stack.enter_context(Signals())
        folder, changed = open_folder(job, ranks, stack)
        info = RunInfo(folder.path, ranks.rank, recipe)
        job.host.hooks.run_started(info)
        stack.callback(lambda: job.host.hooks.run_finished(info, outcome))
        with writing(folder.path):
            result = _Run(job, ranks, folder, changed, signals, stack).go()
        outcome = "done" if result.outcome == DONE else "stopped"
    return result


class _Run:
    """The parts of one run, in the order in which they are made."""

    def __init__(
        self, job: Job, ranks: Ranks, folder: RunFolder, changed: list[str], signals: Signals, stack: ExitStack
    ) -> None:
        recipe = job.resolved.recipe
        self.changed = changed
        self.job, self.ranks, self.folder, self.signals, self.stack = job, ranks, folder, signals, stack
        self.recipe, self.train = recipe, recipe.train
        self.say = (lambda line: print(line, flush=True)) if ranks.first else (lambda line: None)
        self.device = pick_device(recipe.train.device, ranks.local)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.precision = Precision.of(recipe.train.precision, self.device)
        self.local = ranks.part(recipe.data.batch_size, recipe.optim.accumulate)

    def go(self) -> Result:
        """Make everything, train, and leave a report."""
        job, recipe = self.job, self.recipe
        told = own_origins(job.resolved, self.folder.recipe)
        for line in (*brief.opening(told), *brief.settings(told)):
            self.say(line)
        checkpoint = self._found()
        self.model = self._model(fresh=checkpoint is None)
        self.reader = job.open_reader(recipe, job.host, self.ranks, self.folder.ledger, self.model.group)
        self.stack.callback(self.reader.close)
        self.course = course(recipe, self.reader.units)
        self._brief(checkpoint)
        wrapped, average = wrap(self.model, self.train, self.ranks, self.precision)
        self.optimizer = make_optimizer(self.model, recipe.optim, self.course.lr(0))
        self.keeper = Keeper(
            self.folder.checkpoints, self.model, self.optimizer, self.precision, average, self.train.keep,
            {"recipe": recipe.name, "batch": recipe.data.batch_size, "world": self.ranks.world}, self.ranks,
            self.train.checkpoints == "sharded",
        )
        loop = self._loop(wrapped, average, checkpoint)
        return self._drive(loop)

    def _found(self) -> Checkpoint | None:
        """The checkpoint to go on from; metrics after it are cut away."""
        path = newest(self.folder.checkpoints, tell=self.say) if self.ranks.first else None
        name = self.ranks.share(str(path or ""))
        checkpoint = load(Path(name), parts=False) if name else None
        step = checkpoint.step if checkpoint else 0
        if self.ranks.first:
            MetricsFile(self.folder.metrics).cut(step)
            StampFile(self.folder.stamps).cut(step)
            cut_files(self.folder, step)
            cut_ledger(self.folder.ledger, checkpoint.state["position"] if checkpoint else 0)
            self.folder.write_env(
                step=step, world=self.ranks.world, device=str(self.device), changed=self.changed
            )
        for line in self.changed:
            self.say(f"  {'changed':<14}{line}")
        if checkpoint is None and self.job.resume:
            self.say(f"{self.folder.path} has no checkpoint yet: starting at step 0")
        self.ranks.barrier()
        return checkpoint

    def _model(self, *, fresh: bool) -> MaskedModel:
        """The model with its starting weights, on the device."""
        with init_scope(self.train.seed):
            model = build_model(self.recipe, self.job.host)
        batch, parts = self.recipe.data.batch_size, self.recipe.optim.accumulate
        model.check_split(batch, ranks=self.ranks.world, accumulate=parts)
        if fresh:
            self._weights(model)
        self.precision.prepare(model, move=not self.ranks.shards(self.train.parallel))
        return model.train()

    def _weights(self, model: MaskedModel) -> None:
        lines = [line for source in self.job.init for line in init_model(model, source, self.job.host)]
        lines += starting_weights(model, self.recipe, self.job.host)
        for line in lines:
            self.say(line)

    def _brief(self, checkpoint: Checkpoint | None) -> None:
        if not self.ranks.first:
            return
        one = self.reader.sight(1)
        places = sum(layout.length for layout in self.model.layouts(one).values()) if one is not None else 0
        for line in brief.numbers(
            self.job.resolved, self.reader, self.ranks, self.model, self.precision, places
        ):
            self.say(line)
        if one is not None and not self._scores(one):
            self.say(f"  {'careful':<14}no place of the first sample is scored, so its loss is 0: look at the maskers")
        self.say(f"  {'run folder':<14}{self.folder.path}")
        if checkpoint is not None:
            self.say(f"  {'continues':<14}after step {checkpoint.step:,} of {self.course.steps:,}")

    def _scores(self, one: Batch) -> bool:
        """Whether anything is learnt from a sample; a plan that cannot be drawn is the first step's to tell."""
        try:
            return any(self.model.denominators(self.model.draw(one)).values())
        except MmaskError:
            return True

    def _loop(self, wrapped: torch.nn.Module, average: Average | None, checkpoint: Checkpoint | None) -> Loop:
        recipe, train = self.recipe, self.train
        guard = Guard(self.folder.path, train.nonfinite_budget, train.seed, self.ranks.rank)
        done, stamps, samples, tokens = 0, START, 0, 0
        if checkpoint is not None:
            self.keeper.restore(checkpoint)
            done, stamps = checkpoint.step, int(checkpoint.state["stamp"], 16)
            guard.skipped = int(checkpoint.state.get("skipped", 0))
            samples = int(checkpoint.state.get("samples", done * recipe.data.batch_size))
            tokens = int(checkpoint.state.get("tokens", 0))
        averages: tuple[Callable[[], None], ...] = (self.model.update_emas,) if self.model.emas else ()
        if average is not None:
            averages = (*averages, average.update)
        stepper = Stepper(
            self.model, wrapped, self.optimizer, self.ranks, self.precision, guard, train.seed,
            recipe.optim.accumulate, recipe.optim.clip, averages,
        )
        book = self._book(done)
        health = self._health(book)
        probe = self._probe(book)
        validation = Validation(self.reader.val, self.precision, self.ranks)
        loop = Loop(
            Feed(self.reader.train(done), self.model, self.precision, done), stepper, self.course,
            Cadence.of(
                train, self.course.steps, held_out=self.reader.held_out > 0, pictures=health is not None,
                probe=train.probe is not None,
            ),
            book, self.ranks, self.signals, save=lambda: self._save(loop),
            validate=lambda: self._validate(validation, average),
            draw=lambda step: self._draw(health, step),
            probe=lambda step: self._judge(probe, average, step),
            trail=StampFile(self.folder.stamps, writes=self.ranks.first),
            done=done, stamps=stamps, saved=done if checkpoint else -1,
            samples=samples, tokens=tokens,
        )
        return loop

    def _book(self, done: int) -> Logbook:
        progress = RunProgress(self.course.steps, done, quiet=not self.ranks.first)
        trackers = []
        if self.ranks.first:
            host, out = self.job.host, self.folder.path
            trackers = [host.build("tracker", spec, out=out, step=done) for spec in self.train.trackers]
        book = Logbook(
            self.folder.path, progress, trackers, self.job.host.hooks.report, writes=self.ranks.first
        )
        self.stack.callback(book.close)
        return book

    def _health(self, book: Logbook) -> Health | None:
        if self.recipe.preview is None:
            return None
        preview = self.job.host.build("preview", self.recipe.preview, model=self.model, recipe=self.recipe)
        return Health(preview, self.reader, self.precision, book)

    def _probe(self, book: Logbook) -> Probe | None:
        if self.train.probe is None or not self.ranks.first:
            return None
        return Probe(self.recipe, self.job.host, self.precision, book)

    def _judge(self, probe: Probe | None, average: Average | None, step: int) -> dict[str, float]:
        """Of the weights that are exported; on rank 0 alone, for which others gather what they have of them."""
        if self.train.probe is None:
            return {}
        model = self.model if average is None else average.average
        assert isinstance(model, MaskedModel)
        return model.run(lambda: {} if probe is None else probe(model, step), at_once=True)

    def _validate(self, validation: Validation, average: Average | None) -> dict[str, float]:
        numbers = validation(self.model)
        if average is not None:
            averaged = average.average
            assert isinstance(averaged, MaskedModel)
            numbers["val_loss_ema"] = validation(averaged)["val_loss"]
        return numbers

    def _draw(self, health: Health | None, step: int) -> None:
        if health is not None:
            self.model.run(lambda: health(self.model, step) if self.ranks.first else None, at_once=True)
            self._report()

    def _save(self, loop: Loop) -> None:
        """Rank 0 writes what is whole; the others wait for it."""
        self.keeper.save(loop)
        self.ranks.barrier()

    def _report(self) -> None:
        if not self.ranks.first:
            return
        try:
            write_report(self.folder.path)
        except (OSError, MmaskError) as error:
            self.say(f"the report was not written: {error}")

    def _drive(self, loop: Loop) -> Result:
        asked = self.job.stop_after
        last = self.course.steps if asked is None else min(self.course.steps, asked)
        if loop.done == 0:
            loop.draw(0)
            self._start_row(loop)
        if loop.done >= last:
            self.say(f"nothing left to do: {loop.done:,} of {self.course.steps:,} steps are done")
        with loop.book.progress:
            outcome = loop.run(last)
        self._report()
        if self.ranks.first:
            self._closing(loop, outcome)
        return Result(outcome, loop.done, self.folder.path)

    def _start_row(self, loop: Loop) -> None:
        """What random (or given) weights are worth: the floor of every later probe. Written once a run."""
        if self.ranks.any(self.ranks.first and not any(row["step"] == 0 for row in read_rows(self.folder.metrics))):
            numbers = loop.probe(0)
            if numbers:
                loop.book.row({"step": 0, **numbers})

    def _closing(self, loop: Loop, outcome: str) -> None:
        word = {"done": "done", "stopped": "stopped as asked"}.get(outcome, "stopped by a signal, saved")
        self.say(f"{word} after step {loop.done:,} of {self.course.steps:,}")
        figures = sorted(self.folder.figures.glob("step-*.png"))
        self.say(f"  {'run folder':<14}{self.folder.path}")
        if figures:
            self.say(f"  {'figure':<14}{figures[-1]}")
        self.say(f"  {'report':<14}{self.folder.path / 'report.html'}")
        if self.folder.ledger.exists() and (faults := read_ledger(self.folder.ledger)):
            self.say(f"  {'unreadable':<14}{len(faults):,} samples or ends of shards, listed in {self.folder.ledger}")
        if outcome != DONE:
            self.say(f"  {'continue':<14}mmask train --resume {self.folder.path}")
