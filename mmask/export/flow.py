"""mmask export: write, load there, compare, and only then keep."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmask import __version__
from mmask.errors import ExportError, UsageError
from mmask.export.claim import check_needs
from mmask.export.parity import Difference, check, compare
from mmask.export.sample import make_batch
from mmask.export.snippet import SNIPPET, run_snippet
from mmask.recipe.assets import FOLDER, with_places, write_assets
from mmask.recipe.schema import Recipe, Spec, use
from mmask.train.checkpoint import newest
from mmask.train.revive import load_model, load_resolved

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.train.model import MaskedModel

ABOUT = "export.json"


@dataclass(frozen=True)
class Wanted:
    """What to export. format: an exporter by name. options: its own. ema: the moving average where the run
    kept one. tolerance: relative; None is the exporter's own. network: which of the run's; None is the one that the
    recipe ``exports``."""

    format: str
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    ema: bool = True
    tolerance: float | None = None
    network: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was written. files: names in ``out``. snippet: what was executed in ``out``; printed: its output."""

    out: Path
    files: tuple[str, ...]
    differences: tuple[Difference, ...]
    tolerance: float
    snippet: str
    printed: str
    step: int


def export(run: Path, host: Host, wanted: Wanted) -> Exported:
    """Write a network of a run in another form.

    Everything is written into a folder beside ``out``, loaded there by its own snippet in a fresh process, and
    compared with the run's network on the same inputs; ``out`` appears only when all of that has worked.
    Raises UsageError for an ``out`` that holds other things and for a network there is not, ExportError when the
    written model cannot be loaded, differs by more than the tolerance, or the format cannot hold this network.
    """
    recipe = _chosen(load_resolved(run, host).recipe, wanted.network)
    spec = use(host.format_of("exporter", wanted.format, recipe.networks[recipe.exports].use), **wanted.options)
    exporter = host.build("exporter", spec)
    check_needs(wanted.format, exporter)
    _check_out(wanted.out)
    model = load_model(run, host, ema=wanted.ema).to(torch.float32)
    model.exports = recipe.exports
    step = _step(run)
    aside = wanted.out.with_name(f".{wanted.out.name}.{os.getpid()}.part")
    try:
        aside.mkdir(parents=True)
        assets = write_assets(recipe, host, aside)
        snippet = exporter.write(model, with_places(recipe, assets, f"{FOLDER}/{{}}"), aside)
        (aside / SNIPPET).write_text(snippet, encoding="utf-8")
        model.to(getattr(torch, exporter.dtype))
        inputs = exporter.inputs(model, make_batch(model, recipe, host))
        inputs = {name: _cast(value, exporter.dtype) for name, value in inputs.items()}
        found, printed = _parity(exporter, spec, host, model, inputs, aside)
        tolerance = exporter.tolerance if wanted.tolerance is None else wanted.tolerance
        check(found, tolerance)
        about = {
            "format": wanted.format, "options": dict(wanted.options), "recipe": recipe.name, "run": str(run),
            "network": recipe.exports, "step": step, "ema": wanted.ema and recipe.train.ema is not None,
            "mmask": __version__, "plugins": host.versions(), "tolerance": tolerance, "compared_in": exporter.dtype,
            "differences": [asdict(one) for one in found],
        }
        (aside / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        _place(aside, wanted.out)
    except OSError as error:
        raise ExportError(f"{wanted.out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    files = tuple(sorted(path.name for path in wanted.out.iterdir()))
    return Exported(wanted.out, files, tuple(found), tolerance, snippet, printed, step)


def _chosen(recipe: Recipe, network: str | None) -> Recipe:
    """The recipe, exporting this network."""
    if network is None:
        return recipe
    if network not in recipe.networks:
        raise UsageError(f"the run has no network '{network}'", hint=f"it has {', '.join(recipe.networks)}")
    return recipe.model_copy(update={"exports": network})


def _parity(
    exporter: Any, spec: Spec, host: Host, model: MaskedModel, inputs: Mapping[str, torch.Tensor], folder: Path
) -> tuple[list[Difference], str]:
    with torch.inference_mode():
        ours = exporter.ours(model, inputs)
    target = host.find("exporter", spec.use).component.target
    heard = run_snippet(folder, target, spec.options(), inputs)
    return compare(ours, heard.outputs), heard.printed


def _cast(value: torch.Tensor, dtype: str) -> torch.Tensor:
    return value.to(getattr(torch, dtype)) if value.is_floating_point() else value


def _step(run: Path) -> int:
    path = newest(run / "checkpoints")
    return int(path.name.removeprefix("step-")) if path is not None else 0


def _check_out(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / ABOUT).is_file()):
        raise UsageError(f"{out} is there and is no export", hint="choose another --out")


def _place(aside: Path, out: Path) -> None:
    """Put the new folder in the place of an earlier export, which is removed last."""
    old = aside.with_suffix(".old")
    if out.exists():
        out.rename(old)
    try:
        aside.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
