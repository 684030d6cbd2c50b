"""A resolved recipe as rows for people: key, value, origin, meaning; options of components included."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mmask.plugin.options import options_of
from mmask.recipe.override import narrow
from mmask.recipe.parts import Part, parts
from mmask.recipe.schema import Recipe
from mmask.recipe.tree import leaves

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.recipe.resolve import Resolved


@dataclass(frozen=True, slots=True)
class Row:
    """One key. ``section`` is the dotted table it stands in, ``doc`` one line about it."""

    section: str
    key: str
    value: str
    origin: str
    doc: str


def describe(made: Resolved, host: Host) -> list[Row]:
    """Every key of a recipe in the schema's order, with the options its components would fill in."""
    named = {part.options_at: part for part in parts(made.recipe)}
    rows: list[Row] = []
    values = made.recipe.model_dump()
    for path, value in leaves(made.recipe.model_dump(exclude={"name", "summary", "paper"})):
        section, _, key = ".".join(path).rpartition(".")
        doc = _doc(path, values)
        part = named.get(section)
        if part is not None and not doc:
            doc = option_doc(host.target(part.kind, part.spec.use), key)
        if part is not None and key == "use":
            doc = _summary(part, host)
        rows.append(Row(section, key, show(value), made.origins.get(".".join(path), "default"), doc))
    for at, part in named.items():
        rows += _unsaid(at, part, host)
    order = {section: index for index, section in enumerate(dict.fromkeys(row.section for row in rows))}
    return sorted(rows, key=lambda row: order[row.section])


def show(value: Any) -> str:
    """A value as TOML would write it; ``none`` for None."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        if "url" in value:  # a source: what was left at its default is no news
            value = {key: inner for key, inner in value.items() if inner not in ("", [], 1.0)}
        return "{" + ", ".join(f"{key} = {show(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(inner) for inner in value) + "]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _unsaid(at: str, part: Part, host: Host) -> Iterator[Row]:
    """Options the recipe leaves to the component's own defaults."""
    target = host.target(part.kind, part.spec.use)
    given = part.spec.options()
    for option in options_of(target).values():
        if not option.required and option.name not in given and at != "data.dataset":
            origin = f"default of {part.spec.use}"
            yield Row(at, option.name, show(option.default), origin, option_doc(target, option.name))


def _summary(part: Part, host: Host) -> str:
    claim = host.find(part.kind, part.spec.use)
    return f"{part.kind} of plugin {claim.plugin.name}: {claim.component.summary}"


def _doc(path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """The docstring of a schema field."""
    node: Any = Recipe
    here: Any = values
    doc = ""
    for key in path:
        node = narrow(node, here)
        doc = ""
        if isinstance(node, type) and issubclass(node, BaseModel):
            field = node.model_fields.get(key)
            if field is None:
                return ""
            doc, node = field.description or "", field.annotation
        elif typing.get_origin(node) is dict:
            node = typing.get_args(node)[1]
        here = here.get(key) if isinstance(here, Mapping) else None
    return " ".join(doc.split())


def option_doc(target: Any, name: str) -> str:
    """What a component's docstring says of an option: the text after ``name:`` up to the next full stop."""
    text = " ".join((inspect.getdoc(target) or "").split())
    found = re.search(rf"(?:^|[\s,.;]){re.escape(name)}(?:, \w+)*: (.+?)(?:\. |\.$|$)", text)
    return found.group(1) if found else ""
