"""Progress: a bar with rate, time left, loss and data wait; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """What a run prints while it works. ``quiet`` (every rank but the first) prints nothing.

    steps: of the whole run. start: steps already done.
    """

    def __init__(
        self, steps: int, start: int = 0, *, quiet: bool = False, console: Console | None = None
    ) -> None:
        self.steps, self.start, self.quiet = steps, start, quiet
        self.console = console or Console(stderr=False, highlight=False)
        self.live = self.console.is_terminal and not quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._shown = 0.0

    def __enter__(self) -> RunProgress:
        if self.live:
            self._bar = Progress(
                TextColumn("[bold]train"), BarColumn(bar_width=None), MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}"), TextColumn("{task.fields[rate]}"),
                TextColumn("wait {task.fields[wait]}"), TimeRemainingColumn(), console=self.console,
            )
            self._task = self._bar.add_task(
                "train", total=self.steps, completed=self.start, loss="…", rate="… samples/s", wait="…"
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """One line above the bar."""
        if self.quiet:
            return
        if self.live:
            self.console.print(line, markup=False)
        else:
            print(line, flush=True)

    def step(self, done: int, loss: float, rate: float, wait: float) -> None:
        """After every step: moves the bar, at most ten times a second."""
        now = time.monotonic()
        if self._bar is None or (now - self._shown < 0.1 and done < self.steps):
            return
        self._shown = now
        self._bar.update(
            self._task, completed=done, loss=f"{loss:.4f}", rate=f"{rate:,.0f} samples/s", wait=f"{wait:.0%}"
        )

    def row(self, row: Mapping[str, Any]) -> None:
        """After every logged step: a line where there is no terminal, and validation results everywhere."""
        if self.quiet:
            return
        if not self.live and "loss" in row:
            print(self._line(row), flush=True)
        if "probe_rank" in row:
            self.say(probe_line(row))
        if "val_loss" in row:
            self.say(val_line(row))

    def _line(self, row: Mapping[str, Any]) -> str:
        done = int(row["step"])
        parts = [f"step {done:>{len(str(self.steps))}}/{self.steps}", f"epoch {row['epoch']:.2f}"]
        parts += [f"{name} {_number(row.get(name))}" for name in ("loss", "lr", "grad_norm")]
        parts += [f"{_number(row.get('samples_per_s'))} samples/s", f"wait {row['data_wait']:.0%}"]
        return "  ".join([*parts, f"eta {clock(self.left(row))}"])

    def left(self, row: Mapping[str, Any]) -> float:
        """Seconds left at the pace since the row before: the first steps of a run are slow."""
        rate, done = row.get("samples_per_s") or 0.0, int(row["step"])
        batch = float(row.get("samples", done)) / max(1, done)
        return (self.steps - done) * batch / rate if rate > 0 else 0.0


def val_line(row: Mapping[str, Any]) -> str:
    """``val 0.412 at step 200, 12.3 % below the trivial predictor's 0.470``."""
    text = f"val {row['val_loss']:.4f} at step {row['step']}"
    trivial = row.get("val_trivial")
    if trivial:
        gain = 1 - row["val_loss"] / trivial
        side = "below" if gain >= 0 else "above"
        text += f", {abs(gain):.1%} {side} the trivial predictor's {trivial:.4f}"
    return text


def probe_line(row: Mapping[str, Any]) -> str:
    """``probes at step 200: knn 41.2%, linear 55.0%, effective rank 17.3``."""
    odd = ("probe_rank", "probe_std", "probe_collapse")
    shares = [f"{n.removeprefix('probe_')} {v:.1%}" for n, v in row.items() if n.startswith("probe_") and n not in odd]
    shares.append(f"effective rank {row['probe_rank']:.1f}")
    return f"probes at step {row['step']}: {', '.join(shares)}"


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _number(value: Any) -> str:
    if value is None:
        return "nan"
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
