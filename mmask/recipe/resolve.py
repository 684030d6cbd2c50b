"""Putting a recipe together: recipe, profile, run file, flags, overrides, later ones winning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mmask.errors import UnknownNameError, UsageError, did_you_mean
from mmask.plugin.options import fit, options_of, takes_any
from mmask.recipe.load import RunFile, from_file, from_plugin
from mmask.recipe.override import check_key, names_entry, parse
from mmask.recipe.parts import Part, parts
from mmask.recipe.problems import rewrite
from mmask.recipe.schema import Recipe
from mmask.recipe.tree import Tree, leaves

if TYPE_CHECKING:
    from mmask.plugin.host import Host

BASE, PROFILE, FILE, FLAGS, OVERRIDES = range(5)
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Resolved:
    """A recipe that is ready to run, and where each of its values came from.

    origins: every dotted leaf -> ``recipe mae-vit-b (mmask-image 0.1.0)``, ``profile demo``, a file,
    ``command line --batch-size``, ``command line`` or ``default``. profile: the profile that was applied.
    notes: what a user should know (options dropped with their component, other versions than the file's).
    """

    recipe: Recipe
    origins: Mapping[str, str]
    profile: str = ""
    notes: tuple[str, ...] = ()
    plugins: Mapping[str, str] = field(default_factory=dict)


def resolve(
    host: Host, *, recipe: str | None = None, config: str | Path | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None, overrides: Sequence[str] = (),
    profile: str | None = None, check: bool = True,
) -> Resolved:
    """The recipe a run uses.

    recipe: a name. config: a TOML file or a run folder; at least one of both. flags: dotted key ->
    (flag, value). overrides: ``key=value`` strings. profile: one by name, ``none``, or None: ``demo`` when
    the recipe has it and nothing names training data. check: import the components and check their
    options. Raises UsageError, RecipeError, UnknownNameError, PluginError.
    """
    file = None if config is None else from_file(config)
    tree = Tree()
    profiles = _base(tree, host, recipe, file)
    layers = _layers(file, flags or {}, overrides)
    chosen = _profile(profiles, profile or (file.profile if file else ""), tree, layers, file)
    if chosen:
        values = {tuple(key.split(".")): value for key, value in profiles[chosen].items()}
        layers.insert(0, (PROFILE, values, dict.fromkeys(values, f"profile {chosen}")))
    for rank, values, origins in layers:
        for path in values:
            check_key(path, tree.values)
        gone = [path for path, value in values.items() if value is None and names_entry(path, tree.values)]
        for path in gone:
            tree.drop(path)
        tree.layer({path: value for path, value in values.items() if path not in gone}, origins, rank)
    made = _validate(tree)
    notes = _other_versions(file, host)
    if check:
        made, dropped = _check_parts(made, tree, host)
        notes += dropped
    origins_of = {".".join(path): tree.origin(path) for path, _ in leaves(made.model_dump())}
    return Resolved(made, origins_of, chosen, tuple(notes), host.versions())


def _base(tree: Tree, host: Host, name: str | None, file: RunFile | None) -> dict[str, dict[str, Any]]:
    """The lowest layer: a plugin's recipe, unless the file is a whole one. -> the profiles."""
    inner = file.recipe if file else ""
    if name and inner and name != inner:
        raise UsageError(f"--recipe {name} and {file and file.path} (recipe = '{inner}') disagree", hint="give one")
    name = name or inner
    if not name:
        if file is None:
            raise UsageError("no recipe was named", hint="give --recipe NAME or --config FILE; see mmask recipes")
        if "networks" not in file.values:
            raise UsageError(
                f"{file.path} is no whole recipe and names none",
                hint='add recipe = "NAME" at its top, or give --recipe',
            )
        return file.values.get("profiles", {})
    found, claim = from_plugin(host, name)
    origin = f"recipe {claim.component.name} ({claim.plugin.entry.release})"
    values = dict(leaves(found.model_dump(exclude_unset=True, exclude={"profiles"})))
    tree.layer(values, dict.fromkeys(values, origin), BASE)
    return found.profiles


Layer = tuple[int, dict[tuple[str, ...], Any], dict[tuple[str, ...], str]]


def _layers(file: RunFile | None, flags: Mapping[str, tuple[str, Any]], overrides: Sequence[str]) -> list[Layer]:
    out: list[Layer] = []
    if file is not None:
        values = dict(leaves(file.values)) if file.values else {}
        values.update({tuple(key.split(".")): None for key in file.unset})
        origins = {}
        for path in values:
            before = file.origin.get(".".join(path), "")
            origins[path] = f"{file.path} ({before})" if before else str(file.path)
        out.append((FILE, values, origins))
    named = {tuple(key.split(".")): (flag, value) for key, (flag, value) in flags.items()}
    out.append((
        FLAGS, {path: value for path, (_, value) in named.items()},
        {path: f"{COMMAND_LINE} {flag}" for path, (flag, _) in named.items()},
    ))
    given = dict(parse(text) for text in overrides)
    out.append((OVERRIDES, given, dict.fromkeys(given, COMMAND_LINE)))
    return out


def _profile(
    profiles: Mapping[str, Any], asked: str, tree: Tree, layers: list[Layer], file: RunFile | None
) -> str:
    if asked and asked != "none":
        if asked not in profiles:
            raise UnknownNameError(
                f"no profile '{asked}'{did_you_mean(asked, profiles)}",
                hint=f"the recipe has {', '.join(sorted(profiles)) or 'none'}",
            )
        return asked
    written = file is not None and file.written  # a run's own recipe.toml says everything already
    given = tree.get(("data", "train")) or any(
        path[:2] == ("data", "train") and value for _, values, _ in layers for path, value in values.items()
    )
    return "" if asked or written or given or "demo" not in profiles else "demo"


def _validate(tree: Tree) -> Recipe:
    try:
        return Recipe.model_validate(tree.values)
    except ValidationError as error:
        raise rewrite(error, tree) from None


def _check_parts(recipe: Recipe, tree: Tree, host: Host) -> tuple[Recipe, list[str]]:
    """Components exist and their options fit. Options that belonged to a replaced component are dropped."""
    notes: list[str] = []
    for part in parts(recipe):
        notes += _check_part(part, tree, host)
    return (_validate(tree) if notes else recipe), notes


def _check_part(part: Part, tree: Tree, host: Host) -> list[str]:
    try:
        target = host.target(part.kind, part.spec.use)
    except UnknownNameError as error:
        raise UnknownNameError(f"{part.where}: {error.message}", hint=error.hint) from None
    options, notes = part.options(), []
    at = tuple(part.options_at.split("."))
    changed = tree.rank((*part.where.split("."), "use"))
    if not takes_any(target):
        for name in [name for name in options if name not in options_of(target)]:
            if tree.rank((*at, name)) < changed:
                tree.drop((*at, name))
                del options[name]
                notes.append(f"{part.options_at}.{name} was left out: {part.kind} '{part.spec.use}' has no such option")
    fit(target, options, what=f"{part.kind} '{part.spec.use}'", where=part.options_at, complete=False)
    return notes


def _other_versions(file: RunFile | None, host: Host) -> list[str]:
    if file is None or not file.written:
        return []
    host.load_all()
    now = host.versions()
    before = file.written.get("plugins", {})
    return [
        f"{file.path} was written with {release}, this is {now.get(name, 'not installed')}"
        for name, release in before.items() if now.get(name) != release
    ]
