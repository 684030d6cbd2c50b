"""Assets: files that a recipe names and that its run keeps, so that it can be built again without them.

A component says so with a static method ``assets(**options) -> {option: (file name, bytes)}``: the file that stands
behind an option. `write_assets` copies each into ``assets/<digest>/<name>`` beside ``recipe.toml`` or an export's
``recipe.json``, once however many components name it, and the option there becomes ``asset:<digest>/<name>``. Reading
such a file turns it back into the path of the copy, wherever the folder now lies, and checks that it is whole. Two
recipes whose files hold the same bytes are the same, whatever their paths were.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.errors import CheckpointError, MmaskError
from mmask.recipe.parts import parts
from mmask.recipe.schema import Recipe

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.recipe.resolve import Resolved

FOLDER = "assets"
SCHEME = "asset:"
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. name: its last path component."""

    name: str
    data: bytes

    @property
    def place(self) -> str:
        """``<digest>/<name>``, under the folder of assets."""
        return f"{digest(self.data)}/{Path(self.name).name}"


def find_assets(recipe: Recipe, host: Host) -> dict[str, Asset]:
    """Dotted key of an option -> the file that stands behind it."""
    found = {}
    for part in parts(recipe):
        offer = getattr(host.target(part.kind, part.spec.use), "assets", None)
        if offer is None:
            continue
        try:
            made: Mapping[str, tuple[str, bytes]] = offer(**part.options())
        except MmaskError as error:
            raise type(error)(f"{part.where}: {error.message}", hint=error.hint) from error
        found.update({f"{part.options_at}.{option}": Asset(*file) for option, file in made.items()})
    return found


def with_places(recipe: Recipe, assets: Mapping[str, Asset], form: str = f"{SCHEME}{{}}") -> Recipe:
    """The recipe with ``form`` of each asset's place in place of its path."""
    if not assets:
        return recipe
    values = recipe.model_dump()
    for key, asset in assets.items():
        *path, last = key.split(".")
        node: Any = values
        for name in path:
            node = node[int(name)] if isinstance(node, list) else node[name]
        node[last] = form.format(asset.place)
    return Recipe.model_validate(values)


def kept(resolved: Resolved, host: Host) -> Resolved:
    """As it is written beside a run: files by their contents and not by their paths."""
    return replace(resolved, recipe=with_places(resolved.recipe, find_assets(resolved.recipe, host)))


def write_assets(recipe: Recipe, host: Host, folder: Path) -> dict[str, Asset]:
    """Copy a recipe's files into ``folder/assets``; those that are there already stay."""
    assets = find_assets(recipe, host)
    for asset in assets.values():
        path = folder / FOLDER / asset.place
        if path.is_file() and path.read_bytes() == asset.data:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".part")
        with aside.open("wb") as file:
            file.write(asset.data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    return assets


def located(value: Any, folder: Path) -> Any:
    """Values as read from a file in ``folder``, with the paths of the copies. Raises CheckpointError for a copy that
    is missing or has changed."""
    if isinstance(value, Mapping):
        return {key: located(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [located(inner, folder) for inner in value]
    if not isinstance(value, str) or not value.startswith(SCHEME):
        return value
    place = value.removeprefix(SCHEME)
    path = folder / FOLDER / place
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: the recipe beside it cannot be built without it")
    if digest(path.read_bytes()) != place.partition("/")[0]:
        raise CheckpointError(f"{path} is not the file that was kept there", hint="put the original back")
    return str(path)


def digest(data: bytes) -> str:
    """What tells one file's contents from another's."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
