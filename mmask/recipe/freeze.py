"""Writing a resolved recipe: TOML that says everything, and runs again with ``--config``."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from mmask import __version__
from mmask.errors import RecipeError
from mmask.recipe.assets import with_places, write_assets
from mmask.recipe.resolve import Resolved
from mmask.recipe.tree import leaves

if TYPE_CHECKING:
    from mmask.plugin.host import Host

_NOTED = ("torch", "numpy", "timm", "torchvision", "webdataset", "pydantic", "safetensors")


def freeze(resolved: Resolved) -> str:
    """The TOML of a resolved recipe.

    Keys that are None are listed under ``unset``, as TOML has
    no null (keys that are None by default are simply absent). ``[origin]`` says
    where every value that is no default came from; ``[mmask]`` has the versions.
    Profiles are left out: they were applied.
    """
    values = resolved.recipe.model_dump(exclude={"profiles"})
    origins = {
        key: origin for key, origin in resolved.origins.items()
        if origin != "default" and key.partition(".")[0] != "profiles"
    }
    nones = [".".join(path) for path, value in leaves(values) if value is None]
    unset = [key for key in nones if key in origins]  # a default None needs no word
    table = {
        "unset": unset, **_without_none(values), "origin": origins,
        "mmask": {"version": __version__, "plugins": dict(resolved.plugins), "packages": versions()},
    }
    head = "# The resolved recipe of a run. Run it again with: mmask train --config THIS-FILE\n\n"
    try:
        return head + tomli_w.dumps(table)
    except TypeError as error:
        raise RecipeError(f"recipe '{resolved.recipe.name}' holds a value TOML cannot say: {error}") from error


def write(resolved: Resolved, path: str | Path, host: Host) -> None:
    """Write `freeze` to a file, aside first, so that a reader never meets half of it, and the files that its
    components need (`mmask.recipe.assets`) beside it."""
    path = Path(path)
    assets = write_assets(resolved.recipe, host, path.parent)
    resolved = replace(resolved, recipe=with_places(resolved.recipe, assets))
    aside = path.with_name(path.name + ".part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(freeze(resolved))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    out = {"python": platform.python_version()}
    for name in _NOTED:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value]
    return value
