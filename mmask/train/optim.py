"""Optimizers: which parameters are decayed, at which share of the learning rate, and by what rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from mmask.errors import RecipeError, did_you_mean
from mmask.recipe.schema import OptimSection
from mmask.train.shard import cut_like, local

_GROUP = "#group"


def param_groups(model: nn.Module, section: OptimSection) -> list[dict[str, Any]]:
    """Trainable parameters by (decayed, share of the learning rate). Frozen ones are left out.

    Not decayed: vectors and scalars (biases, norms, layer scales; all of them unless ``decay_1d``) and
    what a module names in ``no_weight_decay()`` (timm's convention for tokens and positions), unless
    ``decay_tokens``. Each group has ``lr_scale``, ``decayed`` and ``names``, the parameters' names in order.
    """
    shares = layer_shares(model, section.layer_decay) if section.layer_decay is not None else {}
    spared = frozenset() if section.decay_tokens else frozenset(_spared(model))
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        flat = (param.ndim <= 1 or name.endswith(".bias")) and not section.decay_1d
        decayed = not flat and name not in spared
        scale = shares.get(name, 1.0)
        group = groups.setdefault((decayed, scale), {
            "params": [], "names": [], "lr_scale": scale, "decayed": decayed,
            "weight_decay": section.weight_decay if decayed else 0.0,
        })
        group["params"].append(param)
        group["names"].append(name)
    if not groups:
        raise RecipeError("nothing is trained: every parameter is frozen", hint="unfreeze a network")
    return list(groups.values())


def _spared(model: nn.Module) -> Iterator[str]:
    for prefix, module in model.named_modules():
        declared = getattr(module, "no_weight_decay", None)
        if callable(declared):
            yield from (f"{prefix}.{name}" if prefix else name for name in declared())


def layer_shares(model: nn.Module, decay: float) -> dict[str, float]:
    """Parameter name -> decay ** (layers above it), for every network that timm can cut into layers.

    Clark et al. 2020 (ELECTRA), as timm does it. Raises RecipeError when no network says its layers.
    """
    from timm.optim import param_groups_layer_decay

    shares: dict[str, float] = {}
    roots: list[str] = []
    for prefix, module in model.named_modules():
        if not hasattr(module, "group_matcher") or any(prefix.startswith(f"{root}.") for root in roots):
            continue
        roots.append(prefix)
        names = {id(param): f"{prefix}.{name}".lstrip(".") for name, param in module.named_parameters()}
        for group in param_groups_layer_decay(module, layer_decay=decay):
            shares.update({names[id(param)]: float(group["lr_scale"]) for param in group["params"]})
    if not shares:
        raise RecipeError(
            "optim.layer_decay needs a network whose layers timm knows (one with group_matcher)",
            hint="leave optim.layer_decay out for this recipe",
        )
    return shares


def check_optimizer(section: OptimSection) -> None:
    """Raise RecipeError for an optimizer that does not exist: what a run asks before it begins anything."""
    if section.name == "adamw":
        if section.options:
            raise RecipeError(f"optim.options {section.options} are for optimizers of timm, not for 'adamw'")
        return
    from timm.optim import list_optimizers

    known = [str(name) for name in list_optimizers()]
    if section.name.split("_")[-1] not in known:
        raise RecipeError(
            f"optim.name '{section.name}' is unknown{did_you_mean(section.name, ['adamw', *known])}",
            hint=f"timm has {', '.join(known)}",
        )


def make_optimizer(model: nn.Module, section: OptimSection, lr: float) -> torch.optim.Optimizer:
    """AdamW (fused where the device has it), or any optimizer of timm's factory by name."""
    check_optimizer(section)
    groups = param_groups(model, section)
    names = [name for group in groups for name in group.pop("names")]
    if section.name == "adamw":
        made: torch.optim.Optimizer = torch.optim.AdamW(
            groups, lr=lr, betas=section.betas, eps=section.eps, weight_decay=0.0, fused=_fused(groups),
        )
    else:
        made = _of_timm(section, groups, lr)
    made.mmask_names = names  # type: ignore[attr-defined]  # names in state order, for checkpoints
    return made


def _fused(groups: list[dict[str, Any]]) -> bool:
    devices = {param.device.type for group in groups for param in group["params"]}
    return devices <= {"cpu", "cuda", "mps"}


def _of_timm(section: OptimSection, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2

    try:
        return create_optimizer_v2(
            groups, opt=section.name, lr=lr, weight_decay=0.0, betas=section.betas, eps=section.eps,
            **section.options,
        )
    except TypeError as error:
        raise RecipeError(f"optim.name '{section.name}' does not take optim.options: {error}") from error


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def set_decay(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Give every group that is decayed the step's weight decay."""
    for group in optimizer.param_groups:
        if group.get("decayed", False):
            group["weight_decay"] = decay


def pack_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimizer's state as tensors (``parameter:key``) and as plain values for JSON.

    Raises RecipeError for an optimizer whose state is neither.
    """
    names: list[str] = optimizer.mmask_names  # type: ignore[attr-defined]  # see make_optimizer
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    state = optimizer.state_dict()
    for index, entries in state["state"].items():
        for key, value in entries.items():
            label = f"{names[index]}:{key}" if isinstance(index, int) else f"{index}:{key}"
            if isinstance(value, torch.Tensor):
                tensors[label] = value
            elif value is None or isinstance(value, bool | int | float | str):
                plain[label] = value
            else:
                raise RecipeError(
                    f"optimizer '{type(optimizer).__name__}' keeps a {type(value).__name__} as '{key}', "
                    "which a checkpoint cannot hold", hint="choose another optim.name",
                )
    for number, group in enumerate(state["param_groups"]):  # some keep their count of steps there
        held = {key: value for key, value in group.items() if isinstance(value, torch.Tensor)}
        tensors.update({f"{_GROUP}{number}:{key}": value for key, value in held.items()})
    scalars = [
        {k: _plain(v) for k, v in group.items() if k != "params" and _is_plain(v)}
        for group in state["param_groups"]
    ]
    return tensors, {"state": plain, "groups": scalars}


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (isinstance(value, torch.Tensor) and value.ndim == 0)


def _plain(value: Any) -> Any:
    """A number as Python has it; some of timm's optimizers count steps in a tensor of the group."""
    return value.item() if isinstance(value, torch.Tensor) else value


def _params(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def state_like(optimizer: torch.optim.Optimizer) -> Mapping[str, torch.Tensor]:
    """``parameter:key`` -> the parameter, whatever the key: how a state of the parameter's shape is cut."""
    names: list[str] = optimizer.mmask_names  # type: ignore[attr-defined]  # see make_optimizer
    return _ByParameter(zip(names, _params(optimizer), strict=True))


class _ByParameter(dict[str, torch.Tensor]):
    """A table of parameters that finds them under ``name:key`` too."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.rsplit(":", 1)[0], default)


def unpack_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], saved: dict[str, Any]
) -> None:
    """The inverse of `pack_state`, into an optimizer of the same parameters, sharded ones too.

    Raises ValueError for a state that belongs to a sharded parameter and has another shape.
    """
    params = _params(optimizer)
    index = {name: i for i, name in enumerate(optimizer.mmask_names)}  # type: ignore[attr-defined]  # see make_optimizer
    state: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for label, value in [*tensors.items(), *saved["state"].items()]:
        name, key = label.rsplit(":", 1)
        if name.startswith(_GROUP):
            groups[int(name.removeprefix(_GROUP))][key] = value
        else:
            state.setdefault(index[name], {})[key] = _cut(value, params[index[name]], label)
    for group, scalars in zip(groups, saved["groups"], strict=True):
        group.update(scalars)
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _cut(value: Any, param: torch.Tensor, label: str) -> Any:
    """A state as its parameter is cut."""
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or local(param) is param or local(value) is not value:
        return value
    if value.shape != param.shape:
        raise ValueError(f"{label} has another shape than its sharded parameter; use train.parallel=ddp")
    return cut_like(value, param)
