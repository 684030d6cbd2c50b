"""Finding a recipe: by name from a plugin, or as a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmask.errors import MmaskError, PluginError, RecipeError, UsageError
from mmask.recipe.assets import located
from mmask.recipe.parts import Part, parts
from mmask.recipe.schema import Recipe

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.plugin.registry import Claim

META = ("recipe", "profile", "unset", "mmask", "origin")


@dataclass(frozen=True)
class RunFile:
    """A TOML run file.

    recipe: the recipe it changes; empty when the file is a whole recipe. profile: a profile it asks for.
    values: its sections. unset: dotted keys that are None, which TOML cannot say. written: the ``[mmask]``
    table of a file that `mmask.recipe.freeze` wrote. origin: where that run had its values from.
    """

    path: Path
    recipe: str = ""
    profile: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    written: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)


def from_plugin(host: Host, name: str) -> tuple[Recipe, Claim]:
    """A recipe by ``name`` or ``plugin/name``, and who has it.

    Bare component names that another plugin claims too stay the recipe's own plugin's: installing a
    plugin never breaks the recipes of another.
    """
    claim = host.find("recipe", name)
    function = host.target("recipe", claim.qualified)
    try:
        recipe = function()
    except MmaskError as error:
        raise type(error)(f"{claim.label}: {error.message}", hint=error.hint) from error
    except Exception as error:
        raise PluginError(f"{claim.label} could not be made: {type(error).__name__}: {error}") from error
    if not isinstance(recipe, Recipe):
        raise PluginError(f"{claim.label} gave a {type(recipe).__name__}, not a mmask.api.Recipe")
    _own_names(recipe, host, claim)
    return recipe, claim


def from_file(path: str | Path) -> RunFile:
    """A TOML file, split into its parts. Raises UsageError when it is not there, RecipeError when it is no TOML."""
    path = Path(path)
    if path.is_dir():
        path = path / "recipe.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no file {path}", hint="--config takes a TOML run file, or a run's folder") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    for key, kind in (("recipe", str), ("profile", str), ("unset", list), ("mmask", dict), ("origin", dict)):
        if key in table and not isinstance(table[key], kind):
            raise RecipeError(f"{path}: '{key}' must be a {'table' if kind is dict else kind.__name__}")
    return RunFile(
        path, table.get("recipe", ""), table.get("profile", ""),
        located({key: value for key, value in table.items() if key not in META}, path.parent),
        tuple(table.get("unset", ())), table.get("mmask", {}), table.get("origin", {}),
    )


def _own_names(recipe: Recipe, host: Host, claim: Claim) -> None:
    registry = host.registry(tolerant=True)
    for part in parts(recipe):
        name = part.spec.use
        owners = [owner.plugin.name for owner in registry.owners(part.kind, name)]
        if len(owners) > 1 and claim.plugin.name in owners:
            _rename(recipe, part, f"{claim.plugin.name}/{name}")


def _rename(recipe: Recipe, part: Part, name: str) -> None:
    if part.kind == "dataset":
        recipe.data.dataset = name
    elif part.kind == "objective":
        recipe.objectives[part.where.rpartition(".")[2]].use = name
    else:
        part.spec.use = name
