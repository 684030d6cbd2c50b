"""pydantic's complaints in a user's words: the key, its value and origin, what is allowed, the nearest name."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from mmask.errors import RecipeError, UnknownNameError, did_you_mean
from mmask.recipe.override import nearest
from mmask.recipe.tree import Tree

_BRANCHES = ("Spec", "dict[str,Spec]")


def rewrite(error: ValidationError, tree: Tree) -> RecipeError:
    """One RecipeError with a line for every problem; UnknownNameError when only names are wrong."""
    lines: list[str] = []
    unknown = True
    for problem in error.errors():
        line = _line(problem, tree)
        if line and line not in lines:
            lines.append(line)
            unknown = unknown and problem["type"] == "extra_forbidden"
    kind = UnknownNameError if unknown else RecipeError
    return kind(lines[0] if len(lines) == 1 else "the recipe has problems:\n  " + "\n  ".join(lines))


def _line(problem: Any, tree: Tree) -> str:
    path = _path(problem["loc"], tree)
    if path is None:
        return ""
    key, given = ".".join(path), problem.get("input")
    origin = tree.origin(path)
    if problem["type"] == "extra_forbidden":
        near = nearest(path, tree.values)
        return f"no key '{key}'" + (f" (did you mean '{near}'?)" if near else "") + f", from {origin}"
    if problem["type"] == "missing":
        return _missing(path, tree)
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    text = problem["msg"].removeprefix("Input ").replace("should be", "must be")
    near = ""
    if problem["type"] == "literal_error" and isinstance(given, str):
        allowed = problem["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        near = did_you_mean(given, allowed)
    return f"{key} = {given!r} ({origin}): {text}{near}"


def _missing(path: tuple[str, ...], tree: Tree) -> str:
    key = ".".join(path)
    if len(path) > 2 and path[-1] == "use":
        table, name = tree.get(path[:-2]), path[-2]
        others = [other for other in table if other != name] if isinstance(table, dict) else []
        place = ".".join(path[:-2])
        return f"{place} has no '{name}'{did_you_mean(name, others)}; to add one, set {key} as well"
    return f"{key} is missing: set {key}=..."


def _path(loc: tuple[Any, ...], tree: Tree) -> tuple[str, ...] | None:
    """The key without pydantic's union markers; None for the branch of a union the value is not meant for."""
    path: tuple[str, ...] = ()
    for part in loc:
        if part in _BRANCHES:
            here = tree.get(path)
            is_spec = not isinstance(here, dict) or "use" in here or not here
            if is_spec != (part == "Spec"):
                return None
            continue
        path = (*path, str(part))
    return path
