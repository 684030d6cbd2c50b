"""``key=value`` overrides: TOML-typed values, and keys checked against the schema before anything is set."""

from __future__ import annotations

import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from mmask.errors import UnknownNameError, UsageError
from mmask.recipe.schema import Recipe, Spec
from mmask.recipe.tree import Path

_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")


def parse(text: str) -> tuple[Path, Any]:
    """``optim.lr=2e-5`` -> (("optim", "lr"), 2e-05). Raises UsageError when there is no ``=``."""
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise UsageError(f"'{text}' is not an override", hint="write key=value, for example optim.lr=1e-4")
    return path, parse_value(value.strip())


def parse_value(text: str) -> Any:
    """A TOML value; ``none`` unsets; anything that is no TOML (``block``, ``a/b.tar``) is a string."""
    if text.lower() == "none":
        return None
    if _NUMBER.fullmatch(text) and not re.fullmatch(r"[+-]?\d[\d_]*", text):
        return float(text)
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = table.get("value")
    if len(table) != 1 or isinstance(value, date | datetime | time):
        return text
    return value


def check_key(path: Path, values: Mapping[str, Any]) -> None:
    """Raises UnknownNameError naming the nearest key in full when a recipe has no such key.

    values: the recipe so far, which says what the open tables (``networks``, ``views``) hold.
    Options of components are not checked here: only the component knows them.
    """
    node: Any = Recipe
    here: Any = values
    for depth, key in enumerate(path):
        kind, inner = _step(node, here, key)
        if kind == "open":
            return
        if kind == "unknown":
            _unknown(path, depth, node, values)
        node = inner
        here = _inside(here, key)


def names_entry(path: Path, values: Mapping[str, Any]) -> bool:
    """Whether a key is one of several named parts (``objectives.cells``, ``views.black``) that the recipe has so far:
    what ``none`` takes out."""
    node: Any = Recipe
    here: Any = values
    for key in path[:-1]:
        kind, inner = _step(node, here, key)
        if kind != "field":
            return False
        node, here = inner, _inside(here, key)
    node = narrow(node, here)
    named = typing.get_origin(node) is dict and typing.get_args(node)[1] is not Any
    return named and isinstance(here, Mapping) and path[-1] in here


def _step(node: Any, here: Any, key: str) -> tuple[str, Any]:
    """One key further: ("field", its type), ("open", None) for free options, or ("unknown", None)."""
    node = narrow(node, here)
    if isinstance(node, type) and issubclass(node, BaseModel):
        if key in node.model_fields:
            return "field", node.model_fields[key].annotation
        return ("open", None) if issubclass(node, Spec) else ("unknown", None)
    origin = typing.get_origin(node)
    if origin is dict:
        inner = typing.get_args(node)[1]
        return ("open", None) if inner is Any else ("field", inner)
    if origin is list:
        return ("field", typing.get_args(node)[0]) if key.isdigit() else ("unknown", None)
    return ("open", None) if node is Any else ("unknown", None)


def narrow(node: Any, here: Any) -> Any:
    """The member of a union that the present value belongs to; Optional loses its None."""
    if typing.get_origin(node) not in (typing.Union, types.UnionType):
        return node
    members = [member for member in typing.get_args(node) if member is not type(None)]
    if len(members) == 1:
        return members[0]
    tables = [member for member in members if typing.get_origin(member) is dict]
    models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
    if tables and models:
        return models[0] if not isinstance(here, Mapping) or "use" in here or not here else tables[0]
    return members[0]


def known_keys(node: Any, here: Any, at: str = "") -> Iterator[str]:
    """Every dotted key of a schema type, with the entries that open tables hold at present."""
    node = narrow(node, here)
    if isinstance(node, type) and issubclass(node, BaseModel):
        inside = {name: field.annotation for name, field in node.model_fields.items()}
        if issubclass(node, Spec) and isinstance(here, Mapping):
            inside.update({str(name): Any for name in here if name not in inside})
    elif typing.get_origin(node) is dict and isinstance(here, Mapping):
        inside = {str(name): typing.get_args(node)[1] for name in here}
    else:
        yield at
        return
    for name, inner in inside.items():
        yield from known_keys(inner, _inside(here, name), f"{at}.{name}" if at else name)


def nearest(path: Path, values: Mapping[str, Any]) -> str:
    """The nearest existing key, in full; empty when nothing is near."""
    keys = list(known_keys(Recipe, values))
    tables = {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 1)}
    whole, last, parent = ".".join(path), path[-1], ".".join(path[:-1])
    named = {key.rpartition(".")[2]: key for key in reversed(keys)}
    beside = {key.rpartition(".")[2]: key for key in [*keys, *tables] if key.rpartition(".")[0] == parent}
    pools = (  # what to compare, and with what: siblings first, then any key of that name, then whole keys
        (last, beside), (last, named), (whole, {key: key for key in keys}), (whole, {key: key for key in tables}),
    )
    for want, pool in pools:
        near = get_close_matches(want, pool, n=1, cutoff=0.7)
        if near:
            return pool[near[0]]
    return ""


def _mended(path: Path, depth: int, node: Any, values: Mapping[str, Any]) -> str:
    """The path with its wrong part, one before the last, put right; empty when that is no key either."""
    near = get_close_matches(path[depth], getattr(node, "model_fields", {}), n=1, cutoff=0.7)
    if not near or depth == len(path) - 1:
        return ""
    mended = (*path[:depth], near[0], *path[depth + 1 :])
    try:
        check_key(mended, values)
    except UnknownNameError:
        return ""
    return ".".join(mended)


def _unknown(path: Path, depth: int, node: Any, values: Mapping[str, Any]) -> typing.NoReturn:
    whole, near = ".".join(path), _mended(path, depth, node, values) or nearest(path, values)
    known = [name for name in getattr(node, "model_fields", {})]
    inside = ".".join(path[:depth]) or "a recipe"
    raise UnknownNameError(
        f"no key '{whole}'" + (f" (did you mean '{near}'?)" if near else ""),
        hint=f"{inside} has {', '.join(known)}" if known else f"{inside} is a value and has no parts",
    )


def _inside(here: Any, key: str) -> Any:
    if isinstance(here, Mapping):
        return here.get(key)
    if isinstance(here, list) and key.isdigit() and int(key) < len(here):
        return here[int(key)]
    return None
