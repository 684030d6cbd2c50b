"""Questions and answers: the class of an answer, where there is one, and the head that gives it (LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Encoded, PlanError, Plans, Prediction, RecipeError, Scene, Scored, Target


class AnswerHead(nn.Module):
    """Linear to twice the width, GELU, norm, linear to the target's ``dim``, from the pooled state of scored samples.

    times: how many times the width is inside. eps, std: None takes the network's. network (wired): offers ``width`` and
    ``parts``. target (wired): offers ``dim``.
    """

    def __init__(
        self, *, network: Any, target: Any, times: int = 2, eps: float | None = None, std: float | None = None
    ) -> None:
        super().__init__()
        if not getattr(target, "dim", None):
            raise RecipeError("head 'answer' needs a target that says how many answers there are")
        parts, inner = network.parts, times * int(network.width)
        self.up, self.down = nn.Linear(network.width, inner), nn.Linear(inner, target.dim)
        self.norm = nn.LayerNorm(inner, eps=parts.eps if eps is None else eps)
        std = parts.std if std is None else std
        for layer in (self.up, self.down):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """value: (S, dim) logits. Raises PlanError when the network pools nothing, or places are scored."""
        if encoded.pooled is None or scored.unit != "pooled":
            raise PlanError("head 'answer' answers once a sample, from a pooled state", hint="set scored=pooled")
        return Prediction(self.answer(scored.take(encoded.pooled[:, None])), scored)

    def answer(self, pooled: Tensor) -> Tensor:
        """(S, width) -> (S, dim) logits."""
        return self.down(self.norm(F.gelu(self.up(pooled))))


class Answers:
    """The class of the answer of each sample that has one and whose words belong to its picture.

    classes: how many answers there are. field: (B,) int64 of the batch, -1 for none. paired: the stream whose tokenizer
    says which words are a picture's own (``follows``); None takes all as paired. tokenizers (wired).
    """

    def __init__(
        self, *, classes: int = 9500, field: str = "answer", paired: str | None = "text",
        tokenizers: Mapping[str, Any] | None = None,
    ) -> None:
        if paired is not None and not hasattr((tokenizers or {}).get(paired), "follows"):
            raise RecipeError(f"target 'answers': the tokenizer of stream '{paired}' does not say whose its words are",
                              hint="use the tokenizer 'ids' there, or set paired to none")
        self.dim, self.field = classes, field
        self.tokenizer = None if paired is None else (tokenizers or {})[paired]

    def known(self, plans: Plans) -> Tensor:
        """(B,) bool: the samples that are scored."""
        answers = self._answers(plans)
        known = answers >= 0
        if self.tokenizer is not None:
            known &= self.tokenizer.follows(plans.batch).to(known.device) == 1
        return known

    def _answers(self, plans: Plans) -> Tensor:
        fields = plans.batch.fields
        if self.field not in fields:
            raise PlanError(f"the batch has no field '{self.field}'", hint="leave the objective out, or store answers")
        answers: Tensor = fields[self.field]
        if answers.device.type == "cpu" and len(answers) and int(answers.max()) >= self.dim:
            raise PlanError(f"'{self.field}' has answer {int(answers.max())}; the target has {self.dim} classes")
        return answers

    @torch.no_grad()
    def __call__(self, scene: Scene, scored: Scored) -> Target:
        """value: (S,) int64."""
        return Target(scored.take(self._answers(scene)[:, None]), scored)

    def trivial(self, target: Target) -> Prediction:
        """Logits of how often each answer is the right one: what learning has to beat."""
        counts = F.one_hot(target.value, self.dim).double().sum(0)
        share = (counts / counts.sum().clamp_min(1)).clamp_min(1e-12)
        return Prediction(share.log().float().expand(len(target.value), -1), target.scored)
