"""Before a run: parameters, tokens and memory of a recipe, without weights in memory.

The model is built on torch's ``meta`` device, where tensors have shapes and no storage. One forward pass
there, over a batch of the run's own shapes, counts the bytes that autograd keeps for the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from mmask.errors import MmaskError
from mmask.train.build import build_model
from mmask.train.model import MaskedModel
from mmask.types import Batch

if TYPE_CHECKING:
    from mmask.plugin.host import Host
    from mmask.recipe.schema import Recipe

_PROBE = 8  # samples of the pass on the meta device; more are counted in proportion


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. activations: None when no sample could be looked at, and then ``why`` says so."""

    parameters: int
    gradients: int
    optimizer: int
    average: int
    activations: int | None = None
    why: str = ""

    @property
    def total(self) -> int:
        """The sum of what is known."""
        return self.parameters + self.gradients + self.optimizer + self.average + (self.activations or 0)


@dataclass(frozen=True)
class Estimate:
    """A recipe in numbers.

    parameters: part -> (trained, frozen). places: stream -> valid places of a sample. kept: stream -> mean
    number of places that stay visible. ratios: plan -> realised share of hidden places. micro: samples
    that are on the device at once.
    """

    parameters: Mapping[str, tuple[int, int]]
    memory: Memory
    micro: int
    places: Mapping[str, float] = field(default_factory=dict)
    kept: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)


def build_on_meta(recipe: Recipe, host: Host) -> MaskedModel:
    """The model without storage: parameters have shapes only."""
    with torch.device("meta"):
        return build_model(recipe, host)


def estimate(recipe: Recipe, host: Host, batch: Batch | None, *, ranks: int = 1, why: str = "") -> Estimate:
    """Parameters always; places and activations when ``batch`` has a few decoded samples.

    why: what to say where there is no batch.
    """
    model = build_on_meta(recipe, host)
    micro = max(1, recipe.data.batch_size // ranks // recipe.optim.accumulate)
    memory = _states(model, recipe)
    parameters = count_parameters(model)
    if batch is None:
        return Estimate(parameters, replace(memory, why=why), micro)
    plans = model.draw(batch)
    places = {name: float(layout.lengths().float().mean()) for name, layout in plans.layouts.items()}
    kept: dict[str, float] = {}
    for table in plans.plans.values():
        for stream, plan in table.items():
            counts = plan.keep_idx.shape[1] if plan.keep_count is None else float(plan.keep_count.float().mean())
            kept.setdefault(stream, float(counts))
    try:
        held = _held(model, batch, recipe)
        memory = replace(memory, activations=int(held * micro))
    except (RuntimeError, NotImplementedError, MmaskError) as error:
        reason = str(error).partition("\n")[0][:160]
        memory = replace(memory, why=f"a pass on the meta device failed ({type(error).__name__}: {reason})")
    return Estimate(parameters, memory, micro, places, kept, plans.ratios())


def count_parameters(model: MaskedModel) -> dict[str, tuple[int, int]]:
    """Part (``networks.encoder``, ``objectives.pixels``, ...) -> (trained, frozen) parameters, shared ones once."""
    seen: set[int] = set()
    out: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        part = ".".join(name.split(".")[:2])
        trained, frozen = out.get(part, (0, 0))
        size = parameter.numel()
        out[part] = (trained + size, frozen) if parameter.requires_grad else (trained, frozen + size)
    return out


def _states(model: MaskedModel, recipe: Recipe) -> Memory:
    """Parameters and what a step keeps for each: gradient, two moments (Adam's), and an average if asked."""
    wide = 8 if recipe.train.precision == "fp64" else 4  # weights stay in fp32 under autocast
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * wide
    everything = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    moments = 2 if "adam" in recipe.optim.name.lower() else 1
    return Memory(
        parameters=everything * wide // 4, gradients=trained, optimizer=moments * trained,
        average=everything * wide // 4 if recipe.train.ema else 0,
    )


def _held(model: MaskedModel, batch: Batch, recipe: Recipe) -> float:
    """Bytes a sample leaves for the backward pass. Each storage counts once; parameters do not.

    Counted in fp32 (autocast does not run on ``meta``), so bf16 and fp16 runs need less.
    """
    own = {id(p.untyped_storage()) for p in (*model.parameters(), *model.buffers())}
    batch = _repeated(batch, _PROBE)
    held: dict[int, tuple[Any, int]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own:
            held[id(storage)] = (storage, storage.nbytes())  # kept alive, so that ids stay unique
        return tensor

    model.train()
    plans = replace(model.draw(batch), batch=_on_meta(batch))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(plans.batch, plans)
    scale = 2 if recipe.train.precision == "fp64" else 1
    return scale * sum(size for _, size in held.values()) / _PROBE


def _repeated(batch: Batch, size: int) -> Batch:
    """``size`` samples, the given ones over and over."""
    rows = torch.arange(size) % len(batch)
    fields = {
        name: value[rows] if isinstance(value, torch.Tensor) else [value[int(i)] for i in rows]
        for name, value in batch.fields.items()
    }
    index = rows.numpy()
    return replace(batch, fields=fields, ids=batch.ids[index], visits=batch.visits[index], names=(), augment={})


def _on_meta(batch: Batch) -> Batch:
    fields = {n: v.to("meta") if isinstance(v, torch.Tensor) else v for n, v in batch.fields.items()}
    return replace(batch, fields=fields)
