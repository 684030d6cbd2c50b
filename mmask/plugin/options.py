"""The options of a component: what its constructor declares, and whether given values fit.

The signature is the schema. Names are checked against it; values are checked against the annotations with
pydantic where these can be evaluated, so ``ratio="abc"`` for a ``float`` is an error before anything is made.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmask.errors import RecipeError, UnknownNameError, did_you_mean

_SKIPPED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword of a component. ``default`` is `inspect.Parameter.empty` when it must be given."""

    name: str
    default: Any
    annotation: Any

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


def is_component_itself(target: Any) -> bool:
    """Whether a function *is* the component (it takes positional values) rather than makes one.

    A class is always constructed. A function without positional parameters is a factory.
    """
    if inspect.isclass(target) or not callable(target):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(target).parameters.values()
    return any(p.kind in positional and p.default is p.empty for p in parameters)


def options_of(target: Any) -> dict[str, Option]:
    """Name -> option, in the order of the signature. Empty where a signature cannot be read."""
    parameters = _parameters(target)
    hints = _hints(target)
    itself = is_component_itself(target)
    return {
        p.name: Option(p.name, p.default, hints.get(p.name, Any))
        for p in parameters
        if p.kind not in _SKIPPED and not (itself and p.kind is not p.KEYWORD_ONLY)
    }


def takes_any(target: Any) -> bool:
    """Whether the signature ends in ``**options``."""
    return any(p.kind is p.VAR_KEYWORD for p in _parameters(target))


def fit(
    target: Any, given: Mapping[str, Any], *, what: str, where: str = "", wired: Iterable[str] = (),
    complete: bool = True,
) -> dict[str, Any]:
    """Options checked by name and type against ``target``; values come back as the annotations say.

    what: the component in words. where: its dotted key in the recipe. wired: options the caller provides.
    complete: whether an option without a default must be among them; False before a recipe is built, when
    what will be wired is not known.
    Raises UnknownNameError for an unknown name, RecipeError for a missing or unfit value.
    """
    known = options_of(target)
    wired = frozenset(wired)
    if not takes_any(target):
        for name in given:
            if name not in known:
                _unknown(name, [n for n in known if n not in wired], what, where)
    for option in known.values():
        if complete and option.required and option.name not in given and option.name not in wired:
            key = _key(where, option.name)
            raise RecipeError(f"{what} needs the option '{option.name}'", hint=f"set {key}=...")
    return {name: _value(known.get(name), value, what, where) for name, value in given.items()}


def _unknown(name: str, known: list[str], what: str, where: str) -> None:
    near = did_you_mean(_key(where, name), [_key(where, n) for n in known])
    raise UnknownNameError(
        f"{what} has no option '{name}'" + near,
        hint=f"its options are {', '.join(known)}" if known else "it has no options",
    )


def _value(option: Option | None, value: Any, what: str, where: str) -> Any:
    if option is None or option.annotation is Any:
        return value
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        adapter = TypeAdapter(option.annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a BaseModel brings its own configuration
        adapter = TypeAdapter(option.annotation)
    except PydanticSchemaGenerationError:
        return value
    key = _key(where, option.name)
    try:
        made = adapter.validate_python(value)
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(line["msg"] for line in error.errors()))
        raise RecipeError(f"{key} = {value!r} does not fit {what}: {reasons}") from None
    if isinstance(value, str | bool) and isinstance(made, int | float) and type(made) is not type(value):
        raise RecipeError(f"{key} = {value!r} does not fit {what}: it must be a number")
    return made


def _key(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _parameters(target: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []


def _hints(target: Any) -> dict[str, Any]:
    """Annotations evaluated one by one: a name that exists for type checkers only leaves its option unchecked."""
    source = target.__init__ if inspect.isclass(target) else target
    source = inspect.unwrap(source)
    raw = dict(getattr(source, "__annotations__", {}))
    if inspect.isclass(target) and not raw:  # dataclasses and the like
        raw = dict(getattr(target, "__annotations__", {}))
    module = sys.modules.get(getattr(source, "__module__", ""), None)
    names = {**vars(typing), **getattr(source, "__globals__", vars(module) if module else {})}
    out: dict[str, Any] = {}
    for name, hint in raw.items():
        if isinstance(hint, str):
            try:
                hint = eval(hint, names)  # the plugin's own annotation
            except Exception:
                continue
        out[name] = hint
    return out
