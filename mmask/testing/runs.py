"""What tests of a plugin do with mmask as a whole: build a model, run the command line, export and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from mmask.export.flow import Exported
    from mmask.export.parity import Difference
    from mmask.protocols import Subject
    from mmask.recipe.schema import Recipe, Spec
    from mmask.train.model import MaskedModel


def mmask(*words: str | Path) -> int:
    """Run a command of ``mmask`` in this process -> its exit status. ``mmask("train", "--recipe", name)``."""
    from mmask.cli.main import run

    return run([str(word) for word in words])


def recipe(name: str | Path, overrides: Sequence[str] = (), *, profile: str = "none") -> Recipe:
    """A recipe by name, or the path of a TOML file, with overrides as on the command line (``"optim.lr=1e-3"``), and a
    profile of it."""
    from mmask.library import plugins
    from mmask.recipe.resolve import resolve

    source = {"config": name} if isinstance(name, Path) else {"recipe": name}
    return resolve(plugins(), **source, overrides=tuple(overrides), profile=profile).recipe


def build(
    made: str | Path | Recipe, seed: int = 0, *, overrides: Sequence[str] = (), profile: str = "none",
    stand_ins: Mapping[tuple[str, str], Callable[..., Any]] | None = None,
) -> MaskedModel:
    """The model of a recipe (by name, by file, or as it is) with weights drawn after ``torch.manual_seed(seed)``.

    stand_ins: (kind, name) -> what is called with the options instead of a component of that name, such as a
    tokenizer that says what a test tells it.
    """
    import torch

    from mmask.train.build import build_model

    made = recipe(made, overrides, profile=profile) if isinstance(made, str | Path) else made
    torch.manual_seed(seed)
    return build_model(made, _Replaced(stand_ins or {}))


class _Replaced:
    """The installed plugins, with some components replaced."""

    def __init__(self, stand_ins: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        from mmask.library import plugins

        self.host, self.stand_ins = plugins(), stand_ins

    def build(self, kind: str, spec: Spec, /, *, where: str = "", **wiring: Any) -> Any:
        made = self.stand_ins.get((kind, spec.use))
        return made(**spec.options()) if made else self.host.build(kind, spec, where=where, **wiring)


def component(kind: str, name: str, *, wiring: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """A component by name, the core's or a plugin's, with its options, as a recipe would build it.

    wiring: what a recipe's model would hand it beside its options (``network``, ``tokenizer``, ``target``, ...).
    """
    from mmask.library import plugins
    from mmask.recipe.schema import use

    return plugins().build(kind, use(name, **options), **(wiring or {}))


def import_run(
    file: Path, form: str, out: Path, *, recipe: str, overrides: Sequence[str] = (), profile: str = "none"
) -> list[str]:
    """What ``mmask import`` does: a checkpoint of another codebase becomes a run -> the lines of its report."""
    from mmask.export.bring import bring
    from mmask.library import plugins
    from mmask.recipe.resolve import resolve

    made = resolve(plugins(), recipe=recipe, overrides=tuple(overrides), profile=profile)
    return list(bring(file, form, made, plugins(), out))


def export_run(run: Path, form: str, out: Path, **options: Any) -> Exported:
    """What ``mmask export`` does: written, loaded by its own snippet in a fresh process, compared."""
    from mmask.export.flow import Wanted, export
    from mmask.library import plugins

    return export(run, plugins(), Wanted(form, out, options))


def outputs_of(folder: Path, form: str, inputs: Mapping[str, Tensor], **options: Any) -> Mapping[str, Tensor]:
    """What an export in ``folder`` answers to ``inputs``, from a fresh process that loads its files."""
    from mmask.export.snippet import run_snippet
    from mmask.library import plugins

    target = plugins().find("exporter", form).component.target
    return run_snippet(folder, target, options, inputs).outputs


def compared(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float
) -> list[Difference]:
    """How far the outputs of an exporter's ``ours`` and ``theirs`` are apart, one line an output.

    Raises ExportError where an output is missing, of another shape, or further apart than ``tolerance``, relative
    to its largest magnitude, as ``mmask export`` would.
    """
    from mmask.export.parity import check, compare

    found = compare(ours, theirs)
    check(found, tolerance)
    return found


def through_checkpoint(model: MaskedModel, folder: Path) -> dict[str, Tensor]:
    """The model's tensors after they were written to a checkpoint in ``folder`` and read back."""
    from mmask.train.checkpoint import Checkpoint, load, save

    written = save(folder, Checkpoint(1, {"model": dict(model.state_dict())}, {}))
    return dict(load(written).tensors["model"])


@contextmanager
def without_packages(*names: str) -> Iterator[None]:
    """Inside, exporters find these packages missing, as on a machine that does not have them."""
    from unittest.mock import patch

    from mmask.export import claim

    find = claim.find_spec
    with patch.object(claim, "find_spec", lambda name: None if name in names else find(name)):
        yield


def subject(run: Path, *, pool: str = "auto", data: tuple[str, ...] = (), limit: int | None = None) -> Subject:
    """What an evaluator with ``wants = "network"`` gets of a run: its network and its samples, on the CPU.

    data: URLs, the run's own without any. limit: at most so many samples."""
    from mmask.evaluate.subject import Arm, Reading, RunSubject
    from mmask.library import plugins

    return RunSubject(Arm(run, pool=pool), plugins(), Reading(device="cpu", limit=limit), data)
