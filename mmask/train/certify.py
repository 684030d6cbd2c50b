"""certify: a recipe's first steps as its author saw them, taken again here."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.errors import UsageError
from mmask.train.job import Job
from mmask.train.run import train

if TYPE_CHECKING:
    from mmask.plugin.host import Host

FOLDER = "certificates"
ALWAYS = (
    "data.workers=0", "train.device=cpu", "train.log_every=1", "train.health_every=1000000", "train.val_samples=2",
    "train.trackers=[]", "train.probe=none",
)
"""Settings of every certificate: one process on a CPU, each step a row, and nothing beside the steps."""
ROOM = 20.0
LEAST = 5e-4


@dataclass(frozen=True)
class Certificate:
    """The first steps of a recipe on its plugin's sample data.

    overrides: ``key=value``, on top of the recipe's demo profile and `ALWAYS`. losses: of each step. stamps: the
    chained fingerprint of samples and plans after each step (see `mmask.train.stamp`), the same on every machine.
    tolerance: how far a loss may be off, relative. made_with: versions, for the reader.
    """

    recipe: str
    overrides: tuple[str, ...]
    losses: tuple[float, ...]
    stamps: tuple[str, ...]
    tolerance: float
    made_with: dict[str, str]

    @staticmethod
    def read(path: Path) -> Certificate:
        """Raises UsageError for a file that is no certificate."""
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            lists: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("overrides", "losses", "stamps")}
            return Certificate(**values, **lists)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is no certificate: {error}", hint="mmask certify RECIPE --write FILE") from error

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Compared:
    """given, found: the certificate and the same steps here."""

    given: Certificate
    found: Certificate

    @property
    def differences(self) -> list[float]:
        """Of each step's loss, relative to the certificate's."""
        pairs = zip(self.given.losses, self.found.losses, strict=True)
        return [abs(here - there) / max(abs(there), 1e-12) for there, here in pairs]

    @property
    def other_samples(self) -> int:
        """The first step (from 1) with other samples or plans, or 0."""
        pairs = zip(self.given.stamps, self.found.stamps, strict=True)
        return next((step for step, (there, here) in enumerate(pairs, 1) if there != here), 0)

    @property
    def holds(self) -> bool:
        """Same samples and plans, and losses within the tolerance (not a number is not)."""
        return not self.other_samples and all(one <= self.given.tolerance for one in self.differences)


def place(name: str, host: Host) -> Path:
    """Where the certificate of a recipe belongs: ``certificates/NAME.json`` in the package that has the recipe."""
    claim = host.find("recipe", name)
    spec = find_spec(claim.component.target.partition(":")[0].partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{claim.label} is in no package, so it ships no certificate")
    return Path(next(iter(spec.submodule_search_locations))) / FOLDER / f"{claim.component.name}.json"


def compare(given: Certificate, host: Host) -> Compared:
    """Take the steps of a certificate here."""
    return Compared(given, steps(given.recipe, given.overrides, len(given.losses), host))


def issue(name: str, overrides: Sequence[str], count: int, host: Host) -> Certificate:
    """A new certificate. Its tolerance is `ROOM` times what float64 changes of the losses, at least `LEAST`: rounding
    differs between machines, and some recipes (draws by argmax, codes) answer to it more than others."""
    made = steps(name, overrides, count, host)
    exact = steps(name, (*overrides, "train.precision=fp64"), count, host)
    worst = max(Compared(exact, made).differences)
    return replace(made, tolerance=float(f"{max(LEAST, ROOM * worst):.1g}"))


def steps(name: str, overrides: Sequence[str], count: int, host: Host) -> Certificate:
    """The first steps of a recipe, in a folder that does not stay."""
    from mmask.recipe.resolve import resolve

    said = (*ALWAYS, f"schedule.steps={count}", f"train.save_every={count}", *overrides)
    made = resolve(host, recipe=name, overrides=said)
    with tempfile.TemporaryDirectory(prefix="mmask-certify-") as folder:
        with redirect_stdout(io.StringIO()):
            train(Job(made, host, Path(folder, "run")))
        lines = Path(folder, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [row for row in map(json.loads, lines) if row.get("loss") is not None]
    return Certificate(
        name, tuple(overrides), tuple(float(row["loss"]) for row in rows), tuple(str(row["stamp"]) for row in rows),
        LEAST, _versions(host, name),
    )


def _versions(host: Host, name: str) -> dict[str, str]:
    import platform

    import torch

    from mmask import __version__

    plugin = host.find("recipe", name).plugin
    return {
        "mmask": __version__, plugin.name: plugin.entry.version or "", "torch": str(torch.__version__),
        "python": platform.python_version(), "machine": platform.machine(),
    }
