"""Starting weights: from a run, from timm, or from a file, with a report of what fitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmask.errors import CheckpointError, MmaskError
from mmask.recipe.schema import Recipe
from mmask.train.checkpoint import load, newest
from mmask.train.model import MaskedModel

Tensors = Mapping[str, torch.Tensor]


def init_model(model: MaskedModel, source: str, host: Any) -> list[str]:
    """Copy weights of ``source`` into the model -> lines that say what was loaded, missing, unexpected.

    source: a run's folder (its moving average where it kept one), ``timm:NAME`` for the exported network,
    a ``.safetensors`` file, or a file or folder that a plugin's weights format reads. Raises CheckpointError when
    nothing fits or a tensor has another shape.
    """
    if source.startswith("timm:"):
        return [f"weights of {source}", *_copy(model.encoder, _timm(source[5:]), model.exports)]
    path = Path(source)
    if (path / "checkpoints").is_dir():
        return [f"weights of run {path}", *_copy_best(model, run_weights(path))]
    if path.is_dir() and not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        raise CheckpointError(f"{path} has no checkpoint", hint="is it a run's folder?")
    if not path.exists():
        raise CheckpointError(
            f"no run or file '{source}' to start from", hint="--init takes a run, timm:NAME, or a file",
        )
    weights = _own(path) if path.suffix == ".safetensors" else {}
    ours = max(_overlap(model, weights), _overlap(model.encoder, weights))
    if 2 * ours > len(weights):  # a few names are anyone's, such as norm.weight
        return [f"weights of {path}", *_copy_best(model, weights)]
    try:
        return _foreign(model, path, host)
    except CheckpointError:
        if not ours:
            raise
        return [f"weights of {path}", *_copy_best(model, weights)]


def init_network(model: MaskedModel, name: str, source: str, host: Any) -> list[str]:
    """The same for one network (``networks.NAME.init``)."""
    network = model.network(name)
    if source.startswith("timm:"):
        return _copy(network, _timm(source[5:]), name)
    path = Path(source)
    if path.is_dir():
        weights = run_weights(path)
        own = _under(weights, f"networks.{name}.") or _under(weights, "networks.encoder.")
        return _copy(network, own, name)
    if path.suffix == ".safetensors" and path.is_file():
        return _copy(network, _own(path), name)
    raise CheckpointError(f"networks.{name}.init: no run or .safetensors file '{source}'")


def starting_weights(model: MaskedModel, recipe: Recipe, host: Any) -> list[str]:
    """Weights of every ``networks.NAME.init`` -> lines about them; averages without one of their own start as
    copies again."""
    lines: list[str] = []
    for name, section in recipe.networks.items():
        if section.init:
            lines += init_network(model, name, section.init, host)
    for name, (source, _) in model.emas.items():
        if not recipe.networks[name].init:
            model.network(name).load_state_dict(model.network(source).state_dict())
    return lines


def run_weights(run: Path, *, ema: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of a run's newest whole checkpoint, by the model's names."""
    path = newest(run / "checkpoints")
    if path is None:
        raise CheckpointError(f"{run} has no checkpoint", hint="is it a run's folder?")
    tensors = load(path).tensors
    return dict(tensors["ema"] if ema and "ema" in tensors else tensors["model"])


def _own(path: Path) -> Tensors:
    from safetensors.torch import load_file

    return load_file(path)


def _timm(name: str) -> Tensors:
    import timm

    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:
        raise CheckpointError(
            f"timm:{name} could not be loaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="check the name with timm.list_pretrained(); the weights are fetched from their hub",
        ) from error


def _foreign(model: MaskedModel, path: Path, host: Any) -> list[str]:
    """Ask the weights formats of all plugins, those of the exported network's own package first, each in order of name;
    the first that loads something wins."""
    from mmask.recipe.schema import use

    refusals: list[str] = []
    home = type(model.encoder).__module__.partition(".")[0]
    for name in sorted(host.each("weights"), key=lambda name: _package(host, name) != home):
        reader, before = host.build("weights", use(name)), versions(model)
        try:
            lines = list(reader.load(model, reader.read(path)))
        except (MmaskError, RuntimeError, KeyError, AttributeError) as error:
            refusals.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        if versions(model) == before:
            refusals.append(f"{name}: nothing in it fits")
            continue
        return [f"weights of {path}, read as '{name}'", *(f"  {line}" for line in lines)]
    raise CheckpointError(
        f"no weights format fits {path}", hint="; ".join(refusals) or "no plugin has a weights format",
    )


def _package(host: Any, name: str) -> str:
    """Of a weights format."""
    target: str = host.find("weights", name).component.target
    return target.partition(".")[0]


def versions(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Name -> (tensor, how often it was written): what tells loaded tensors from others of equal value."""
    return {name: (value.data_ptr(), value._version) for name, value in model.state_dict(keep_vars=True).items()}


def _copy_best(model: MaskedModel, weights: Tensors) -> list[str]:
    """Into the whole model, or into the exported network where the names are its own."""
    if _overlap(model, weights) >= _overlap(model.encoder, weights):
        return _copy(model, weights, "model")
    return _copy(model.encoder, weights, model.exports)


def _copy(module: nn.Module, weights: Tensors, what: str) -> list[str]:
    wanted = module.state_dict()
    ready = {name: value for name, value in weights.items() if name in wanted}
    if not ready:
        raise CheckpointError(
            f"none of the {len(weights)} tensors fits {what}", hint="is it the same architecture?"
        )
    bad = [name for name, value in ready.items() if value.shape != wanted[name].shape]
    if bad:
        theirs, ours = tuple(ready[bad[0]].shape), tuple(wanted[bad[0]].shape)
        raise CheckpointError(
            f"{what}: {len(bad)} tensors have another shape, first {bad[0]}: {theirs} there, {ours} here",
            hint="set the recipe's sizes to those of the weights",
        )
    module.load_state_dict(ready, strict=False)
    lines = [f"  loaded {len(ready)} of {len(wanted)} tensors of {what}"]
    for title, names in (("missing", wanted.keys() - ready), ("unexpected", weights.keys() - ready)):
        if names:
            lines.append(f"  {title} {len(names)}: {_listed(sorted(names))}")
    return lines


def _listed(names: list[str], most: int = 12) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _overlap(module: nn.Module, weights: Tensors) -> int:
    return len(module.state_dict().keys() & weights.keys())


def _under(weights: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
