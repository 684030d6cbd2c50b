"""Section, Spec and use: what the parts of a recipe are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe: keyword-only, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, use_attribute_docstrings=True)


class Spec(BaseModel):
    """A component to build: its name under ``use``, its options beside it.

    ``use("random", ratio=0.75)`` in Python; ``use = "random"`` and ``ratio = 0.75`` in TOML. A name may be
    qualified by its plugin (``image/patch``). Options are checked against the component when it is built.
    """

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    use: str
    """The component's name, ``name`` or ``plugin/name``."""

    def options(self) -> dict[str, Any]:
        """The options, without the name."""
        return dict(self.__pydantic_extra__ or {})


def use(name: str, /, **options: Any) -> Spec:
    """A `Spec` in Python."""
    return Spec.model_validate({"use": name, **options})
