"""Starting a run again: what may differ from the recipe that its folder holds, and what may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.errors import UsageError
from mmask.recipe.assets import kept
from mmask.recipe.resolve import Resolved
from mmask.recipe.tree import leaves
from mmask.train.revive import load_resolved

if TYPE_CHECKING:
    from mmask.plugin.host import Host

# How a run is carried out; no sample, plan or number depends on these.
FREE = (
    "data.workers", "data.worker_start", "data.fault_budget", "train.device", "train.compile", "train.parallel",
    "train.checkpoint_activations", "train.checkpoints", "train.save_every", "train.keep",
    "train.log_every", "train.val_every", "train.health_every", "train.val_samples", "train.trackers", "train.probe",
    "train.nonfinite_budget", "preview", "profiles", "summary", "paper",
)
# What decides which samples and plans come when: a run that changes it does not go on, it is another run.
FIXED = (
    "data.train", "data.dataset", "data.streams", "data.shuffle", "data.batch_size", "data.pack", "data.bucket",
    "data.decode", "tokenize", "mask", "program", "train.seed", "name",
)


def differences(run: Path, resolved: Resolved, host: Host) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value in the run folder, value now)."""
    before, now = (_table(kept(one, host)) for one in (load_resolved(run, host), resolved))
    keys = sorted(before.keys() | now.keys())
    return {key: (before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)}


def check_same(run: Path, found: dict[str, tuple[Any, Any]]) -> list[str]:
    """Raise UsageError when the same --out is used for another run; nothing has changed otherwise."""
    found = {key: pair for key, pair in found.items() if not _within(key, FREE)}
    if not found:
        return []
    raise UsageError(
        f"{run} holds a run with another recipe: {'; '.join(_shown(found))}",
        hint=f"choose another --out, or continue that run with: mmask train --resume {run}",
    )


def check_resume(run: Path, found: dict[str, tuple[Any, Any]]) -> list[str]:
    """Lines about what changes when a run is resumed. Raises UsageError for a change of the sample order."""
    fixed = {key: pair for key, pair in found.items() if _within(key, FIXED)}
    if fixed:
        raise UsageError(
            f"resuming {run} with other samples or another order is not possible: {'; '.join(_shown(fixed))}",
            hint=f"start a new run from its weights: --init {run}",
        )
    return list(_shown(found, most=99))


def own_origins(resolved: Resolved, recipe: Path) -> Resolved:
    """The same with the origins that ``recipe`` itself gives, instead of ``recipe`` as everything's origin."""
    path = str(recipe)
    origins = {
        key: "default" if origin == path else origin.removeprefix(f"{path} (").removesuffix(")")
        if origin.startswith(f"{path} (") else origin
        for key, origin in resolved.origins.items()
    }
    return replace(resolved, origins=origins)


def _shown(found: dict[str, tuple[Any, Any]], most: int = 4) -> Iterator[str]:
    for key, (before, now) in list(found.items())[:most]:
        yield f"{key} was {before}, is {now}"
    if len(found) > most:
        yield f"and {len(found) - most} more"


def _table(resolved: Resolved) -> dict[str, Any]:
    return {".".join(path): value for path, value in leaves(resolved.recipe.model_dump(mode="json"))}


def _within(key: str, keys: tuple[str, ...]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in keys)
