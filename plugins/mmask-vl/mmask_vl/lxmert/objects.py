"""ObjectTasks: what objects are, how they look, and their features, from one transform of their states (LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import (
    ACTIVATIONS,
    Losses,
    PlanError,
    Plans,
    Prediction,
    RecipeError,
    Scene,
    Scored,
    Share,
    Target,
    Term,
    did_you_mean,
    states_at,
)

FEATURE = "feature"
KINDS = ("label", "attribute", FEATURE)


class ObjectTasks(nn.Module):
    """Three predictions of each object: the class and the attribute that a detector gave it, and its own features.

    tasks: which of them. labels, attributes: numbers of classes. at: where classes are compared, ``hidden`` places (the
    paper) or ``all`` of them, seen or not (the released code); features are compared at hidden places only. share: the
    share of objects that is hidden. plan: the plan of regions. field: the batch's, ``<field>.label`` and
    ``<field>.attribute`` (B, R) int64, -1 for none, with ``<field>.label_confidence`` (or ``<field>.confidence``) and
    ``<field>.attribute_confidence`` (B, R), 1 without them; without labels, the likeliest class of ``<field>.class``
    (B, R, classes), with ``<field>.confidence`` or its probability. background: a class of ``<field>.class`` that is no
    label, None for none.
    act, eps, std: None takes the network's. tokenizers, networks (wired).

    Losses: -log softmax times the confidence; smooth L1 (Huber's with 1), the mean over the features of an object.
    Every one is the mean over all objects, divided by ``share``: so about the mean over hidden ones, but with a
    denominator that does not depend on the draw.
    """

    coupling = "none"

    def __init__(
        self, *, name: str, section: Any, networks: Mapping[str, Any], tokenizers: Mapping[str, Any],
        tasks: Sequence[str] = KINDS, labels: int = 1600, attributes: int = 400,
        at: Literal["hidden", "all"] = "hidden", share: float = 0.15, plan: str = "regions", field: str = "regions",
        background: int | None = 0, act: str | None = None, eps: float | None = None, std: float | None = None,
    ) -> None:
        super().__init__()
        unknown = [task for task in tasks if task not in KINDS]
        if unknown or not tasks:
            near = did_you_mean(unknown[0], KINDS) if unknown else ""
            raise RecipeError(f"objectives.{name}: no task '{unknown[0] if unknown else ''}'{near}",
                              hint=f"there are {', '.join(KINDS)}")
        if at not in ("hidden", "all") or not 0 < share <= 1:
            raise RecipeError(f"objectives.{name}: at is 'hidden' or 'all', not {at!r}; share {share} is in (0, 1]")
        self.name, self.network, self.view, self.stream = name, section.network, section.view, section.stream or field
        self.weight, self.tasks, self.at, self.plan, self.field = section.weight / share, tuple(tasks), at, plan, field
        self.background, network = background, networks[section.network]
        self.tokenizer, parts, width = tokenizers[self.stream], network.parts, int(network.width)
        self.act = ACTIVATIONS[parts.act if act is None else act]
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=parts.eps if eps is None else eps)
        sizes = {"label": labels, "attribute": attributes, FEATURE: self.tokenizer.dim}
        self.sizes = {task: sizes[task] for task in self.tasks}
        layers = {task: nn.Linear(width, size) for task, size in self.sizes.items()}
        self.answers = nn.ModuleDict(layers)
        std = parts.std if std is None else std
        for layer in (self.dense, *layers.values()):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """All objects, padding aside, for each task."""
        count = Scored.valid(plans.layout(self.stream)).count()
        return {self.term(task): count for task in self.tasks}

    def term(self, task: str) -> str:
        """The name of a task's loss."""
        return f"{self.name}_{task}"

    def scored(self, plans: Plans, task: str) -> Scored:
        """The places of a task that may have a loss."""
        if task != FEATURE and self.at == "all":
            return Scored.valid(plans.layout(self.stream))
        return Scored.hidden(plans.plan(self.plan, self.stream))

    def predictions(self, scene: Scene) -> dict[str, Prediction]:
        """Task -> logits (S, classes) or features (S, dim) at its places."""
        encoded = scene.encode(self.network, self.view).stream(self.stream)
        out: dict[str, Prediction] = {}
        made: dict[bool, Tensor] = {}  # of features, and of classes
        for task in self.tasks:
            scored, everywhere = self.scored(scene, task), task != FEATURE and self.at == "all"
            if everywhere not in made:
                made[everywhere] = self._transformed(states_at(encoded, scored))
            out[task] = Prediction(self.answers[task](made[everywhere]), scored)
        return out

    def answer(self, task: str, states: Tensor) -> Tensor:
        """(..., width) states of objects -> logits (..., classes) or features (..., dim)."""
        return self.answers[task](self._transformed(states))

    def _transformed(self, states: Tensor) -> Tensor:
        return self.norm(self.act(self.dense(states)))

    @torch.no_grad()
    def target(self, scene: Scene, task: str, scored: Scored) -> Target:
        """The truth of a task; of classes with the detector's confidence as weight. Raises PlanError."""
        if task == FEATURE:
            values = scene.view("clean").tokens[self.stream].values
            assert values is not None
            return Target(self.tokenizer.split(scored.take(values))[0], scored)
        fields, name = scene.batch.fields, f"{self.field}.{task}"
        if name in fields:
            ids = scored.take(fields[name])
            other = f"{self.field}.confidence" if task == "label" else ""
            given = fields.get(f"{name}_confidence", fields.get(other))
            sure = torch.ones(len(ids), device=ids.device) if given is None else scored.take(given)
        elif task == "label" and f"{self.field}.class" in fields:
            shares = scored.take(fields[f"{self.field}.class"])
            if self.background is not None:
                shares = shares.index_fill(1, torch.tensor([self.background], device=shares.device), 0.0)
            likely, ids = shares.max(1)
            given = fields.get(f"{self.field}.confidence")
            sure = likely if given is None else scored.take(given)
        else:
            raise PlanError(f"the batch has no '{name}'", hint=f"leave '{task}' out of objectives.{self.name}.tasks")
        size = self.sizes[task]
        if ids.device.type == "cpu" and len(ids) and int(ids.max()) >= size:
            raise PlanError(f"'{name}' has class {int(ids.max())} of {size}",
                            hint=f"set objectives.{self.name}.options.{task}s")
        return Target(ids, scored, weight=torch.where(ids >= 0, sure, torch.zeros_like(sure)))

    def forward(self, scene: Scene) -> Losses:
        """One term a task, over all objects, and the accuracy of classes where they are compared."""
        terms, metrics = {}, {}
        counts = self.denominators(scene)
        for task, prediction in self.predictions(scene).items():
            target = self.target(scene, task, prediction.scored)
            value = prediction.value.to(torch.promote_types(prediction.value.dtype, torch.float32))
            if task == FEATURE:
                total = F.smooth_l1_loss(value, target.value.to(value), reduction="sum") / value.shape[1]
            else:
                assert target.weight is not None
                ids = target.value.to(value.device)
                each = F.cross_entropy(value, ids.clamp_min(0), reduction="none")
                total = (each * target.weight.to(each)).sum()
                right = (value.detach().argmax(1) == ids).sum()
                metrics[f"{self.term(task)}_accuracy"] = Share(right, float((target.value >= 0).sum()))
            terms[self.term(task)] = Term(total, counts[self.term(task)], self.weight)
        return Losses(terms, metrics)
