"""From a claim to an object: import the target, check its options, construct it, check its verbs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from mmask import protocols
from mmask.errors import MmaskError, PluginError, did_you_mean
from mmask.plugin.options import fit, is_component_itself, options_of
from mmask.plugin.registry import Claim

PROTOCOLS: Mapping[str, tuple[type, ...]] = {
    "decoder": (protocols.Decoder,),
    "tokenizer": (protocols.Tokenizer,),
    "masker": (protocols.Masker, protocols.ScoredMasker),
    "corruption": (protocols.Corruption,),
    "encoder": (protocols.Encoder,),
    "target": (protocols.TargetMaker,),
    "head": (protocols.Head,),
    "loss": (protocols.Loss,),
    "objective": (protocols.Objective,),
    "evaluator": (protocols.Evaluator,),
    "weights": (protocols.WeightsFormat,),
    "packer": (protocols.Packer,),
    "preview": (protocols.Preview,),
    "tracker": (protocols.Tracker,),
    "exporter": (protocols.Exporter,),
}


def load_target(claim: Claim) -> Any:
    """The class or function a component names. Raises PluginError with the import's own error as its cause."""
    module, _, path = claim.component.target.partition(":")
    try:
        found: Any = import_module(module)
    except Exception as error:
        raise PluginError(
            f"{claim.label} cannot be imported from {claim.component.target}: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            near = did_you_mean(part, [name for name in dir(found) if not name.startswith("_")])
            raise PluginError(f"{claim.label}: {claim.component.target} does not exist{near}")
        found = getattr(found, part)
    return found


def make(claim: Claim, options: Mapping[str, Any], wiring: Mapping[str, Any], *, where: str = "") -> Any:
    """The component with its options, given the parts of ``wiring`` that its signature declares.

    where: its dotted key in the recipe, for messages. Raises RecipeError for options that do not fit,
    PluginError (with the cause) when construction fails or the result lacks a verb of its kind.
    """
    target = load_target(claim)
    what = f"{claim.component.kind} '{claim.component.name}'"
    declared = options_of(target)
    parts = {name: part for name, part in wiring.items() if name in declared and name not in options}
    ready = fit(target, options, what=what, where=where, wired=parts)
    try:
        if is_component_itself(target):
            made = partial(target, **ready, **parts) if ready or parts else target
        else:
            made = target(**ready, **parts)
    except MmaskError as error:
        place = where or what
        message = error.message if error.message.startswith(place) else f"{place}: {error.message}"
        raise type(error)(message, hint=error.hint) from error
    except Exception as error:
        raise PluginError(
            f"{claim.label} ({claim.component.target}) could not be built: {type(error).__name__}: {error}",
            hint=f"options given: {_show(ready)}",
        ) from error
    check_verbs(claim, made)
    return made


def check_verbs(claim: Claim, made: Any) -> None:
    """Raises PluginError naming what a component lacks of its kind's protocol."""
    wanted = PROTOCOLS.get(claim.component.kind, ())
    if not wanted or any(isinstance(made, protocol) for protocol in wanted):
        return
    lacking = [name for name in sorted(verbs(wanted[0])) if not hasattr(made, name)]
    raise PluginError(
        f"{claim.label} ({claim.component.target}) made a {type(made).__name__} without {', '.join(lacking)}",
        hint=f"a {claim.component.kind} must be a mmask.api.{wanted[0].__name__}",
    )


def verbs(protocol: type) -> frozenset[str]:
    """The names a protocol asks for."""
    own = {name for name in vars(protocol) if not name.startswith("_") or name == "__call__"}
    return frozenset(own | set(getattr(protocol, "__annotations__", {})))


def _show(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "none"
