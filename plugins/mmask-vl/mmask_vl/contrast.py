"""Contrast: each picture with its own caption against all others of the step (CLIP, SigLIP)."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, log1p
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from mmask.api import Encoded, Losses, PlanError, Plans, RecipeError, Scene, Share, Term, across_ranks

_MOST = log(100.0)  # CLIP's bound of the logarithm of the scale


class ContrastLoss(nn.Module):
    """Pairs of vectors -> the sum of their losses. Vectors are brought to unit length first.

    kind: ``softmax``: cross entropy over each row and each column of exp(scale) * cosine, half of either (CLIP;
    Radford et al. 2021); ``sigmoid``: of every pair whether it is one, -log sigmoid(±(exp(scale) * cosine + bias)), of
    all pairs of a picture (SigLIP; Zhai et al. 2023). scale: the logarithm of the factor at the start; None takes
    log(1/0.07), or log 10. bias: of ``sigmoid``, at the start.
    """

    def __init__(
        self, *, kind: Literal["softmax", "sigmoid"] = "softmax", scale: float | None = None, bias: float = -10.0
    ) -> None:
        super().__init__()
        if kind not in ("softmax", "sigmoid"):
            raise RecipeError(f"contrast.kind is '{kind}'; it is softmax or sigmoid")
        self.kind = kind
        start = (log(1 / 0.07) if kind == "softmax" else log(10.0)) if scale is None else scale
        self.scale = nn.Parameter(torch.tensor([start]))
        self.bias = nn.Parameter(torch.tensor([bias])) if kind == "sigmoid" else None

    def factor(self) -> Tensor:
        """(1,): what cosines are multiplied by, at most 100."""
        return self.scale.clamp_max(_MOST).exp()

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) and (B, D), row by row a pair -> the sum over this rank's B pairs, and how many of them are the
        nearest of all, both ways counted half. With several ranks the others' vectors are gathered, with gradients;
        every rank has B pairs."""
        if self.training:  # beyond the bound no gradient would lead back
            with torch.no_grad():
                self.scale.clamp_(max=_MOST - 1e-6)
        first, second = (F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)
                         for x in (first, second))
        every = gathered(first), gathered(second)
        own = _rank() * len(first) + torch.arange(len(first), device=first.device)
        logits = self.factor() * first @ every[1].t()
        back = self.factor() * second @ every[0].t()
        right = ((logits.argmax(1) == own).sum() + (back.argmax(1) == own).sum()) / 2
        if self.bias is None:
            total = F.cross_entropy(logits, own, reduction="sum") + F.cross_entropy(back, own, reduction="sum")
            return total / 2, right
        sign = -torch.ones_like(logits)
        sign[torch.arange(len(own), device=own.device), own] = 1
        return -F.logsigmoid(sign * (logits + self.bias)).sum(), right

    def constant(self, pairs: int) -> float:
        """The loss of a pair for who takes all of ``pairs`` for equally near, at the best of scales and biases."""
        if self.kind == "softmax":
            return log(pairs)
        return log(pairs) - (pairs - 1) * log1p(-1 / pairs) if pairs > 1 else 0.0


def gathered(x: Tensor) -> Tensor:
    """(B, D) of every rank -> (ranks * B, D), in their order; gradients flow back to each."""
    if _ranks() == 1:
        return x
    slots = x.new_zeros(_ranks(), *x.shape)
    slots = torch.cat([slots[: _rank()], x[None], slots[_rank() + 1 :]])
    return across_ranks(slots).flatten(0, 1)


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class Contrast(nn.Module):
    """`ContrastLoss` between what two networks, or two streams of one, make of a sample.

    first, second: tables with ``network`` and ``view`` (by default the section's) and ``stream`` (of a network with
    several; "" takes its pooled state, or the mean of its places where it pools none). dim: of the space they meet in,
    each by a linear layer without bias; None compares the states themselves. It scores pairs (`mmask.api.PairScorer`)
    where each side names the stream that it is of. kind, scale, bias: of the loss.
    networks (wired): each of those named has ``width``. The whole step is compared, so it cannot be cut into
    micro-batches.
    """

    coupling = "global"

    def __init__(
        self, *, name: str, section: Any, networks: Mapping[str, Any], first: Mapping[str, str] | None = None,
        second: Mapping[str, str] | None = None, dim: int | None = 512,
        kind: Literal["softmax", "sigmoid"] = "softmax", scale: float | None = None, bias: float = -10.0,
    ) -> None:
        super().__init__()
        own = {"network": section.network, "view": section.view, "stream": ""}
        self.name, self.weight = name, section.weight
        self.ends = [own | dict(side or {}) for side in (first, second)]
        for side in self.ends:
            if set(side) != set(own) or side["network"] not in networks:
                raise RecipeError(
                    f"objectives.{name}: a side is {{network, view, stream}} of a network that is, not {side}"
                )
        if self.ends[0] == self.ends[1]:
            raise RecipeError(f"objectives.{name} compares {self.ends[0]} with itself", hint="set options.second")
        widths = [int(networks[side["network"]].width) for side in self.ends]
        if dim is None and widths[0] != widths[1]:
            raise RecipeError(f"objectives.{name}: states of width {widths[0]} and {widths[1]} need a dim to meet in")
        self.project = nn.ModuleList(
            nn.Identity() if dim is None else nn.Linear(width, dim, bias=False) for width in widths
        )
        for layer, width in zip(self.project, widths, strict=True):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=width**-0.5)
        self.sides = (self.ends[0]["stream"], self.ends[1]["stream"])
        self.loss = ContrastLoss(kind=kind, scale=scale, bias=bias)

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """Pairs."""
        return {self.name: float(len(plans.batch))}

    def side(self, scene: Scene, stream: str) -> dict[str, Tensor]:
        """The vectors of one side, ``vectors`` (B, dim) of unit length."""
        if stream not in self.sides or "" in self.sides:
            raise PlanError(f"objective '{self.name}' compares {self.sides}, not '{stream}'",
                            hint="name the streams: options.first.stream and options.second.stream")
        which = self.sides.index(stream)
        network: Any = scene.network(self.ends[which]["network"])
        if getattr(network, "apart", False):  # the other side need not be made
            made = self.project[which](pooled(network(scene.view("clean").narrowed(stream)).stream(stream)))
        else:
            made = self._vectors(scene, which, "clean")
        return {"vectors": F.normalize(made.to(torch.promote_types(made.dtype, torch.float32)), dim=-1)}

    def pair_scores(self, model: Any, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
        """(A, C): the factor times cosines, and the bias."""
        scores: Tensor = self.loss.factor() * first["vectors"] @ second["vectors"].t()
        return scores if self.loss.bias is None else scores + self.loss.bias

    def vectors(self, scene: Scene) -> list[Tensor]:
        """Both sides, (B, dim)."""
        return [self._vectors(scene, which, side["view"]) for which, side in enumerate(self.ends)]

    def _vectors(self, scene: Scene, which: int, view: str) -> Tensor:
        side, project = self.ends[which], self.project[which]
        encoded = scene.encode(side["network"], view)
        made: Tensor = project(pooled(encoded.stream(side["stream"]) if side["stream"] else encoded))
        return made

    def forward(self, scene: Scene) -> Losses:
        """The term ``name``, over samples, ``<name>_accuracy`` and ``<name>_scale``."""
        total, right = self.loss(*self.vectors(scene))
        count = float(len(scene.batch))
        told: dict[str, Any] = {
            f"{self.name}_accuracy": Share(right.detach(), count),
            f"{self.name}_scale": self.loss.factor().detach()[0],
        }
        return Losses({self.name: Term(total, count, self.weight, "samples")}, told)

    def trivial(self, scene: Scene) -> Losses:
        """Of who finds all of the step equally near: ln B where one of B is chosen."""
        count = float(len(scene.batch))
        each = self.loss.constant(len(scene.batch) * _ranks())
        return Losses({self.name: Term(torch.tensor(each * count), count, self.weight, "samples")})


def pooled(encoded: Encoded) -> Tensor:
    """(B, D): the pooled state, or the mean over places that are no padding."""
    if encoded.pooled is not None:
        return encoded.pooled
    states, valid = encoded.places, encoded.layout.valid
    if valid is None:
        return states.mean(1)
    there = valid.to(states.device)[..., None]
    return (states * there).sum(1) / there.sum(1).clamp_min(1)
