"""Reading a network's forward pass as a list of steps, each of which is known to keep cells apart."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from mmask.api import RecipeError
from mmask_image.spark.rules import RULES, Rule

# functions of one feature map that leave zeros zero, and so need no cleaning in the dense form
_ZERO = frozenset({
    torch.relu, F.relu, F.relu6, F.gelu, F.silu, F.leaky_relu, F.elu, F.hardswish, torch.tanh,
    operator.neg, "relu", "relu_", "tanh", "contiguous", "clone", "float", "neg", "to",
})
_POINT = frozenset({torch.sigmoid, F.sigmoid, F.hardsigmoid, torch.exp, "sigmoid", "exp", "clamp"})
_ADD = frozenset({operator.add, operator.iadd, operator.sub, operator.isub, torch.add, "add", "add_", "sub"})
_MUL = frozenset({operator.mul, operator.imul, torch.mul, "mul", "mul_"})
_DIV = frozenset({operator.truediv, torch.div, "div", "div_"})
_CAT = frozenset({torch.cat, torch.concat})
_TURNS = {(0, 2, 3, 1): (False, True), (0, 3, 1, 2): (True, False)}  # permutation -> (needs last, makes last)

_WAY_OUT = ("use a network without it, or give a rule of its own: "
            "SparseNet(net, rules={{{kind}: Rule(tiles=..., dense=...)}})")


@dataclass(frozen=True)
class Step:
    """One value of the forward pass.

    name: of the value. kind: ``layer`` (target is a module's path), ``call``, ``method`` or ``constant``
    (a parameter's path, or a call on constants). args, kwargs: with `Ref` for earlier values. last: whether
    channels come last in its argument. cleans: whether the dense form has to zero hidden positions after it.
    frees: values that nothing needs afterwards.
    """

    name: str
    kind: str
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    last: bool
    cleans: bool = False
    frees: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ref:
    """An earlier value, by name."""

    name: str


def refused(path: str, kind: str, why: str) -> RecipeError:
    """The error for a layer that would let hidden cells leak, or that nobody has vouched for."""
    place = f"'{path}' ({kind})" if path else f"the network's own forward ({kind})"
    return RecipeError(
        f"{place} cannot be made mask-aware: {why}", hint=_WAY_OUT.format(kind=kind or "Type"),
    )


class _Tracer(fx.Tracer):
    """fx's tracer, with layers of known and of refused types as leaves, and the path of every value."""

    def __init__(self, rules: Mapping[type, Rule], method: str) -> None:
        super().__init__()
        self.rules, self.traced_func_name = rules, method
        self.stack: list[tuple[str, str]] = []
        self.where: dict[str, tuple[str, str]] = {}  # value -> (module path, its type)
        self.outputs: dict[str, str] = {}  # module path -> value

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Known types, and whatever PyTorch itself provides except its containers."""
        if type(m) in self.rules or type(m).__name__ in REFUSED:
            return True
        return type(m).__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Keep track of where we are."""
        path = self.path_of_module(m)
        self.stack.append((path, type(m).__name__))
        out = super().call_module(m, forward, args, kwargs)
        self.stack.pop()
        if isinstance(out, fx.Proxy):
            self.outputs[path] = out.node.name
        return out

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Note the module a value comes from."""
        node = super().create_node(*args, **kwargs)
        self.where[node.name] = self.stack[-1] if self.stack else ("", type(self.root).__name__)
        return node


REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("GroupNorm", "GroupNorm1", "InstanceNorm2d", "GroupNormAct"),
                    "its statistics run over all positions of a sample, hidden ones included"),
    **dict.fromkeys(("AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "SelectAdaptivePool2d",
                     "FastAdaptiveAvgPool2d"), "global pooling averages over hidden cells"),
    **dict.fromkeys(("SEModule", "SqueezeExcite", "SqueezeExcitation", "EffectiveSEModule", "EcaModule",
                     "CbamModule", "GlobalContext", "GatherExcite"),
                    "its gate is computed by pooling over all positions, hidden ones included"),
    **dict.fromkeys(("GlobalResponseNorm", "GlobalResponseNormMlp"),
                    "its response norm runs over all positions, hidden ones included"),
    **dict.fromkeys(("Upsample", "ConvTranspose2d"), "it makes maps finer, which mixes neighbouring cells"),
}
"""Type name -> why it cannot be used inside the part of the network that makes the maps."""


def read_steps(
    net: nn.Module, maps: tuple[str, ...], rules: Mapping[type, Rule] = RULES
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """The steps that lead to the outputs of the modules ``maps``, and the names of those values.

    Whatever the network does afterwards (pooling, classifier) is left out. Raises RecipeError that names the
    module's path, its type and the way out when a step is not known to keep cells apart.
    """
    graph, tracer = _trace(net, rules)
    missing = [path for path in maps if path not in tracer.outputs]
    if missing:
        raise RecipeError(f"the network has no module '{missing[0]}' whose output could be a map")
    wanted = tuple(tracer.outputs[path] for path in maps)
    nodes = _needed(graph, wanted)
    known: dict[str, _Kind] = {}
    steps = []
    for node in nodes:
        if node.op == "placeholder":
            known[node.name] = _Kind(feature=True, last=False)
            continue
        step, known[node.name] = _read(net, node, known, tracer)
        steps.append(step)
    return _with_frees(steps, wanted), wanted


@dataclass(frozen=True)
class _Kind:
    """What is known of a value before anything runs: a feature map (and its axes) or a constant."""

    feature: bool
    last: bool = False


def _trace(net: nn.Module, rules: Mapping[type, Rule]) -> tuple[fx.Graph, _Tracer]:
    tracer = _Tracer(rules, "forward_features" if hasattr(net, "forward_features") else "forward")
    try:
        return tracer.trace(net), tracer
    except Exception as error:  # whatever the network's own code raises when it meets a symbolic value
        path, kind = tracer.stack[-1] if tracer.stack else ("", type(net).__name__)
        raise refused(path, kind, f"its forward cannot be read ({type(error).__name__}: {error})") from error


def _needed(graph: fx.Graph, wanted: tuple[str, ...]) -> list[fx.Node]:
    """The nodes that ``wanted`` depend on, in order."""
    by_name = {node.name: node for node in graph.nodes}
    todo, seen = [by_name[name] for name in wanted], set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.all_input_nodes)
    return [node for node in graph.nodes if node in seen]


def _read(net: nn.Module, node: fx.Node, known: Mapping[str, _Kind], tracer: _Tracer) -> tuple[Step, _Kind]:
    inputs = [known[source.name] for source in node.all_input_nodes]
    features = [kind for kind in inputs if kind.feature]
    args, kwargs = _refs(node.args), _refs(node.kwargs)
    path, kind = tracer.where[node.name]
    last = features[0].last if features else False
    if any(feature.last != last for feature in features):
        raise refused(path, kind, f"'{node.name}' mixes maps whose channels come first and last")
    if node.op == "get_attr" or not features:
        step = "constant" if node.op == "get_attr" else _KINDS.get(node.op, "constant")
        return Step(node.name, step, node.target, args, kwargs, False), _Kind(False)
    if node.op == "call_module":
        return _layer(net, node, tracer, last)
    makes_last, cleans = _function(node, inputs, last, path, kind)
    return (
        Step(node.name, _KINDS[node.op], node.target, args, kwargs, last, cleans), _Kind(True, makes_last)
    )


_KINDS = {"call_function": "call", "call_method": "method", "call_module": "layer"}


def _layer(net: nn.Module, node: fx.Node, tracer: _Tracer, last: bool) -> tuple[Step, _Kind]:
    path, args = str(node.target), _refs(node.args)
    module = net.get_submodule(path)
    kind = type(module).__name__
    rule = tracer.rules.get(type(module))
    if rule is None:
        raise refused(path, kind, REFUSED.get(kind, "this type of layer is not known"))
    fault = rule.check(module)
    if fault is not None:
        raise refused(path, kind, fault)
    if len(args) != 1 or node.kwargs:
        raise refused(path, kind, "it is called with more than one argument")
    makes_last = last
    if rule.turns:
        makes_last = _turned(tuple(module.dims), last, path, kind)  # type: ignore[arg-type]
    elif last and hasattr(module, "kernel_size"):
        raise refused(path, kind, "it looks for neighbours in a map whose channels come last")
    return Step(node.name, "layer", path, args, {}, last), _Kind(True, makes_last)


def _function(
    node: fx.Node, inputs: list[_Kind], last: bool, path: str, kind: str
) -> tuple[bool, bool]:
    """(whether channels come last in its result, whether the dense form has to clean after it)."""
    target, one = node.target, len(inputs) == 1
    everywhere = all(value.feature for value in inputs)
    if target in ("permute", torch.permute):
        dims = node.args[1:] if len(node.args) > 2 else node.args[1]
        return _turned(tuple(dims), last, path, kind), False  # type: ignore[arg-type]
    if target in _ZERO and one:
        return last, False
    if target in _POINT and one:
        return last, True
    if target in _ADD:
        return last, not (everywhere and len(inputs) == len([a for a in node.args if not _empty(a)]))
    if target in _MUL or (target in _DIV and isinstance(node.args[0], fx.Node)):
        return last, False
    if target in _CAT and everywhere:
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        if axis in ((3, -1) if last else (1, -3)):
            return last, False
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    raise refused(path, kind, f"it calls '{name}', which is not known to treat every position alone")


def _empty(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


def _turned(dims: tuple[int, ...], last: bool, path: str, kind: str) -> bool:
    turn = _TURNS.get(tuple(d % 4 for d in dims))
    if turn is None or turn[0] != last:
        raise refused(path, kind, f"it permutes a map's axes by {dims}")
    return turn[1]


def _refs(value: Any) -> Any:
    """Arguments with `Ref` in the place of graph nodes."""
    if isinstance(value, fx.Node):
        return Ref(value.name)
    if isinstance(value, tuple | list):
        return tuple(_refs(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _refs(item) for key, item in value.items()}
    return value


def names(value: Any) -> set[str]:
    """The earlier values an argument refers to."""
    if isinstance(value, Ref):
        return {value.name}
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return set().union(*(names(item) for item in items)) if items else set()


def _with_frees(steps: list[Step], wanted: tuple[str, ...]) -> tuple[Step, ...]:
    """The steps, each with the values that are used there for the last time."""
    done, out = set(wanted), []
    for step in reversed(steps):
        fresh = (names(step.args) | names(step.kwargs)) - done
        done |= fresh
        out.append(replace(step, frees=tuple(sorted(fresh))))
    return tuple(reversed(out))
