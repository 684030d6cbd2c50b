"""Recipe + plugin host -> MaskedModel: every name becomes an object here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from mmask.errors import RecipeError
from mmask.mask.action import Mixture
from mmask.protocols import Objective
from mmask.recipe.schema import NetworkSection, ObjectiveSection, Recipe, Spec, ViewSection
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.names import check_names
from mmask.train.objective import MaskedObjective
from mmask.train.program import Program, Task


class Builder(Protocol):
    """What building needs from the plugin host."""

    def build(self, kind: str, spec: Spec, /, *, where: str = "", **wiring: Any) -> Any:
        """The component ``spec`` names, with its options. ``wiring`` offers parts already built; a
        component that declares a parameter of that name (``tokenizer``, ``network``, ``target``) gets it.
        ``where`` is its dotted key in the recipe, for messages."""
        ...


def build_model(recipe: Recipe, host: Builder) -> MaskedModel:
    """The model of a recipe, initialised under the caller's random state."""
    check_names(recipe)
    tokenizers = {n: host.build("tokenizer", s, where=f"tokenize.{n}") for n, s in recipe.tokenize.items()}
    networks: dict[str, nn.Module] = {}
    for name, section in recipe.networks.items():
        networks[name] = _network(f"networks.{name}", section, host, tokenizers, networks)
    emas = {n: (s.ema_of, s.ema_decay) for n, s in recipe.networks.items() if s.ema_of is not None}
    return MaskedModel(
        tokenizers=tokenizers,
        maskers=_maskers(recipe, host, tokenizers),
        views={
            name: _view(f"views.{name}", view, host, tokenizers, networks)
            for name, view in recipe.views.items()
        },
        networks=networks,
        objectives={
            name: _objective(name, section, recipe, host, {"tokenizers": tokenizers, "networks": networks})
            for name, section in recipe.objectives.items()
        },
        seed=recipe.train.seed,
        exports=recipe.exports,
        frozen=frozenset(name for name, section in recipe.networks.items() if section.frozen),
        emas=emas,
        program=_program(recipe),
        group=recipe.data.group,
        sees={name: section.stream for name, section in recipe.networks.items() if section.stream is not None},
    )


def build_planner(recipe: Recipe, host: Builder) -> MaskedModel:
    """Tokenizers and maskers alone: enough for `MaskedModel.draw`, without a network."""
    tokenizers = {n: host.build("tokenizer", s, where=f"tokenize.{n}") for n, s in recipe.tokenize.items()}
    return MaskedModel(
        tokenizers=tokenizers, maskers=_maskers(recipe, host, tokenizers), views={}, networks={}, objectives={},
        seed=recipe.train.seed,
    )


def _program(recipe: Recipe) -> Program:
    tasks = {n: Task(tuple(t.objectives), t.ratio, t.every, t.start) for n, t in recipe.program.tasks.items()}
    return Program(recipe.program.draw, tasks)


def _network(
    where: str, section: NetworkSection, host: Builder, tokenizers: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
) -> nn.Module:
    if section.ema_of is not None and section.ema_of not in networks:
        raise RecipeError(
            f"{where}.ema_of = '{section.ema_of}': no network of that name stands before it; "
            f"there are {sorted(networks)}",
            hint="put the network it averages first",
        )
    spec = Spec.model_validate({"use": section.use, **section.options()})
    wiring = {"tokenizers": tokenizers, "networks": networks, **_only("tokenizer", tokenizers, section.stream)}
    return host.build("encoder", spec, where=where, **wiring)


def _maskers(recipe: Recipe, host: Builder, tokenizers: Mapping[str, Any]) -> dict[str, PlanMaker]:
    single = isinstance(recipe.mask, Spec)
    return {
        name: _masker("mask" if single else f"mask.{name}", spec, host, tokenizers)
        for name, spec in recipe.maskers().items()
    }


def _masker(where: str, spec: Spec, host: Builder, tokenizers: Mapping[str, Any]) -> PlanMaker:
    options = spec.options()
    streams = tuple(options.pop("on", tokenizers))
    unknown = [stream for stream in streams if stream not in tokenizers]
    if unknown:
        raise RecipeError(f"{where}.on names stream '{unknown[0]}'; the recipe has {sorted(tokenizers)}")
    action = options.pop("action", None)
    if action is not None and not isinstance(action, Mapping):
        raise RecipeError(f"{where}.action is {action!r}; it is a table of shares, {{mask = 0.8, random = 0.1, ...}}")
    mixture = None if action is None else Mixture.of(action)
    return PlanMaker(_build_masker(spec.use, options, host, where), streams, mixture)


def _build_masker(name: str, options: dict[str, Any], host: Builder, where: str) -> Any:
    """A masker, after the maskers that its options name (``spatial = {use = "random"}``)."""
    plain, inner = {}, {}
    for key, value in options.items():
        if isinstance(value, Spec) or (isinstance(value, Mapping) and "use" in value):
            spec = Spec.model_validate(value)
            inner[key] = _build_masker(spec.use, spec.options(), host, f"{where}.{key}")
        else:
            plain[key] = value
    return host.build("masker", Spec.model_validate({"use": name, **plain}), where=where, **inner)


def _view(
    where: str, section: ViewSection, host: Builder, tokenizers: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
) -> ViewMaker:
    corrupt = None
    if section.corrupt is not None:
        corrupt = host.build(
            "corruption", section.corrupt, where=f"{where}.corrupt", tokenizers=tokenizers, networks=networks
        )
    streams = None if section.streams is None else tuple(section.streams)
    return ViewMaker(section.of, section.plan, corrupt, streams, section.complement)


def _objective(
    name: str, section: ObjectiveSection, recipe: Recipe, host: Builder, made: Mapping[str, Any]
) -> Objective:
    stream = section.stream
    if stream is None and section.network in recipe.networks:
        stream = recipe.networks[section.network].stream
    wiring = {**made, **_only("tokenizer", made["tokenizers"], stream)}
    if section.network in made["networks"]:
        wiring["network"] = made["networks"][section.network]
    parts: dict[str, Any] = {}
    for kind in ("target", "head", "loss"):
        spec = getattr(section, kind)
        if spec is not None:
            parts[kind] = host.build(kind, spec, where=f"objectives.{name}.{kind}", **wiring, **parts)
    if section.use != "masked":
        spec = Spec.model_validate({"use": section.use, **section.options})
        at = f"objectives.{name}.options"
        return host.build("objective", spec, where=at, name=name, section=section, **wiring, **parts)
    missing = [kind for kind in ("target", "head", "loss") if kind not in parts]
    if missing:
        others = ", ".join(f"objectives.{other}" for other in recipe.objectives if other != name)
        hint = f"set objectives.{name}.{missing[0]}.use" + (f"; the recipe also has {others}" if others else "")
        raise RecipeError(f"objectives.{name} has no {missing[0]}", hint=hint)
    view = recipe.views.get(section.view)
    return MaskedObjective(
        name=name, network=section.network, view=section.view, plan=view.plan if view else None,
        stream=stream, scored=section.scored, weight=section.weight, taps=section.taps, **parts,
    )


def _only(name: str, table: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
    """The entry ``key`` of a table as wiring, or its single one; nothing when there are several and no key."""
    if key is not None and key in table:
        return {name: table[key]}
    return {name: next(iter(table.values()))} if len(table) == 1 else {}
