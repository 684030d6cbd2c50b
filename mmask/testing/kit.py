"""check_plugin: does a plugin keep what the door asks? Raises AssertionError with what to mend."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Collection
from typing import Any

from mmask.plugin.build import PROTOCOLS, load_target, verbs
from mmask.plugin.component import FORMATS
from mmask.plugin.host import Host
from mmask.plugin.options import is_component_itself
from mmask.plugin.quarantine import Plugin
from mmask.plugin.registry import Claim

HEAVY = ("torch", "timm", "torchvision", "torchaudio", "transformers", "webdataset", "open_clip", "matplotlib")
LIGHT_SECONDS = 1.0

_PROBE = """
import importlib, sys, time
importlib.import_module("mmask.api")
start = time.perf_counter()
importlib.import_module(sys.argv[1])
heavy = [name for name in sys.argv[2:] if name in sys.modules]
print(time.perf_counter() - start, *heavy)
"""


def check_plugin(name: str, *, host: Host | None = None) -> None:
    """A plugin is found, loads, is light, and everything it claims exists, fits its kind and is documented.

    Its recipes build at full size without memory for weights. host: plugins to look among; by default
    those that are installed. Raises AssertionError, or the error that a user of the plugin would see.
    """
    host = host or Host()
    plugin = host.plugin(name)
    assert plugin.state == "ready", f"{plugin.label} is {plugin.state}: {plugin.reason}\n{plugin.trace}"
    if isinstance(plugin.entry.value, str):
        check_light(plugin.entry.value)
    for component in plugin.components:
        check_component(Claim(plugin, component))
    clashes = _clashes(plugin, host)
    assert not clashes, f"{plugin.label} claims names others have: {', '.join(clashes)}; prefix them"
    for component in plugin.components:
        if component.kind == "recipe":
            check_recipe(f"{name}/{component.name}", host=host)


def check_claims(name: str, kinds: Collection[str], *, host: Host | None = None) -> int:
    """`check_component` for what a plugin claims of some kinds, without the rest of it -> how many claims."""
    plugin = (host or Host()).plugin(name)
    mine = [Claim(plugin, component) for component in plugin.components if component.kind in kinds]
    for claim in mine:
        check_component(claim)
    return len(mine)


def check_light(manifest: str) -> None:
    """Importing a manifest's module imports nothing heavy and takes less than a second."""
    module = manifest.partition(":")[0]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module, *HEAVY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{module} cannot be imported alone:\n{done.stderr}"
    seconds, *heavy = done.stdout.split()
    assert not heavy, f"{module} imports {', '.join(heavy)}: import them where they are used"
    assert float(seconds) < LIGHT_SECONDS, f"{module} takes {seconds} s to import"


def check_component(claim: Claim) -> None:
    """A claim's target exists, has the verbs of its kind, keyword options and a docstring."""
    target = load_target(claim)
    kind, label = claim.component.kind, claim.label
    assert claim.component.summary.strip(), f"{label} has no summary"
    assert inspect.getdoc(target), f"{label}: {claim.component.target} has no docstring"
    wanted = PROTOCOLS.get(kind, ())
    if inspect.isclass(target):
        lacking = [_lacking(target, protocol) for protocol in wanted]
        assert not wanted or any(not names for names in lacking), (
            f"{label}: {target.__name__} lacks {', '.join(lacking[0])}"
        )
        positional = _positional(target)
        assert not positional, f"{label}: {', '.join(positional)} must be keyword options (put * before them)"
    elif wanted and not is_component_itself(target):
        assert callable(target), f"{label}: {claim.component.target} is neither class nor function"


def check_recipe(name: str, *, host: Host | None = None) -> Any:
    """A recipe resolves, has its own name and builds at full size on the ``meta`` device. -> the model."""
    import torch

    from mmask.recipe.load import from_plugin
    from mmask.recipe.resolve import resolve
    from mmask.train.build import build_model

    host = host or Host()
    made = resolve(host, recipe=name, profile="none")
    bare = name.rpartition("/")[2]
    assert made.recipe.name == bare, f"recipe '{bare}' calls itself '{made.recipe.name}'"
    if "demo" in from_plugin(host, name)[0].profiles:  # a resolved recipe has applied its profile, and lists none
        resolve(host, recipe=name, profile="demo")
    with torch.device("meta"):
        model = build_model(made.recipe, host)
    assert any(p.requires_grad for p in model.parameters()), f"recipe '{bare}' has nothing to train"
    return model


def _lacking(target: type, protocol: type) -> list[str]:
    """Verbs a class does not define. Plain attributes may be set in the constructor, so they are not asked."""
    methods = [name for name in verbs(protocol) if callable(getattr(protocol, name, None))]
    return sorted(name for name in methods if not _defines(target, name))


def _defines(target: type, name: str) -> bool:
    if name == "__call__":  # every class is callable; its instances need not be
        return any("__call__" in vars(base) for base in target.__mro__)
    return hasattr(target, name)


def _positional(target: type) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(target).parameters.values() if p.kind in kinds]


def _clashes(plugin: Plugin, host: Host) -> list[str]:
    registry = host.registry(tolerant=True)
    return [
        f"{c.kind} {c.name}" for c in plugin.components
        if c.kind not in FORMATS and len(registry.owners(c.kind, c.name)) > 1
    ]
