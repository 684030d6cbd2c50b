"""mmask import: a checkpoint of another codebase becomes a run folder with a checkpoint of step 0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mmask.errors import CheckpointError, UsageError
from mmask.recipe.freeze import write as write_recipe
from mmask.recipe.schema import use
from mmask.train.build import build_model
from mmask.train.checkpoint import Checkpoint, save
from mmask.train.folder import RunFolder
from mmask.train.optim import make_optimizer, pack_state
from mmask.train.schedule import peak_lr
from mmask.train.seed import init_scope
from mmask.train.stamp import START
from mmask.train.weights import versions

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.recipe.resolve import Resolved

_MOST = 12


def bring(file: Path, form: str, resolved: Resolved, host: Host, out: Path) -> Iterator[str]:
    """Load ``file`` into the recipe's model and write a run. Yields the report.

    form: a weights format by name. Raises UsageError when ``out`` is taken, CheckpointError when the file does
    not fit the recipe; nothing is written then.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"{out} is there already", hint="choose another --out")
    recipe = resolved.recipe
    name = host.format_of("weights", form, recipe.networks[recipe.exports].use)
    reader = host.build("weights", use(name), where=f"--format {form}")
    with init_scope(recipe.train.seed):
        model = build_model(recipe, host)
    weights = reader.read(file)
    before = versions(model)
    lines = list(reader.load(model, weights))
    kept = [name for name, version in versions(model).items() if before[name] == version]
    if len(kept) == len(before):
        raise CheckpointError(f"nothing of {file} fits recipe '{recipe.name}'", hint="; ".join(lines[:4]))
    for name, (source, _) in model.emas.items():  # an averaged network starts as a copy, unless the file had it
        if all(f"networks.{name}.{tensor}" in kept for tensor in model.network(name).state_dict()):
            model.network(name).load_state_dict(model.network(source).state_dict())
    _write(RunFolder(out), resolved, model, (file, form), host)
    yield f"{file}: {len(weights)} tensors, read as '{form}'"
    yield f"  loaded {len(before) - len(kept)} of {len(before)} tensors of {recipe.name}"
    yield from (f"  {line}" for line in lines)
    if kept:
        rest = f" and {len(kept) - _MOST} more" if len(kept) > _MOST else ""
        yield f"  as initialised {len(kept)}: {', '.join(kept[:_MOST])}{rest}"
    yield f"{out}: a run at step 0"
    yield f"  train on       mmask train --resume {out}"
    yield f"  a new run      mmask train --recipe {recipe.name} --init {out}"


def _write(folder: RunFolder, resolved: Resolved, model: nn.Module, origin: tuple[Path, str], host: Host) -> None:
    recipe, (file, form) = resolved.recipe, origin
    optimizer = make_optimizer(model, recipe.optim, peak_lr(recipe)[0])
    moments, scalars = pack_state(optimizer)  # no step was taken: there are none yet
    state: dict[str, Any] = {
        "recipe": recipe.name, "batch": recipe.data.batch_size, "world": 1, "optimizer": scalars, "scaler": {},
        "stamp": f"{START:016x}", "position": 0, "epoch": 0.0, "skipped": 0, "imported": [str(file), form],
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    tensors = {"model": dict(model.state_dict()), "optimizer": moments}
    save(folder.checkpoints, Checkpoint(0, tensors, state))
    folder.write_env(step=0, imported=str(file), format=form)
    write_recipe(resolved, folder.recipe, host)  # last: a folder with a recipe is a run
