"""The objectives of wav2vec 2.0: contrast with diverse codes, and small features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import (
    Head,
    Loss,
    Losses,
    MaskedObjective,
    Plans,
    RecipeError,
    Scene,
    Target,
    TargetMaker,
    Term,
    across_ranks,
)
from mmask_audio.wav2vec2.quantizer import perplexity


class CodeContrast(MaskedObjective):
    """Predict the codes of hidden frames, and use all codes.

    Two terms: the objective's own, and ``<name>_diversity``: (G V - perplexity) / (G V) of the codebooks' use,
    averaged over the scored frames of ``group`` consecutive samples. group None averages over the whole batch of the
    step, gathered from all ranks, so that micro-batches are refused (coupling ``global``); a number keeps the
    objective the same on any topology (coupling ``group``). diversity: the term's weight. plan: the plan of the view.

    Metrics: ``code_perplexity`` (of the choices), ``prob_perplexity`` (of the distributions; the same thing in
    evaluation), ``temperature``. name, section, head, target, loss (wired): as the recipe has them; the target offers
    ``ids`` and ``probs`` in its ``extra``.
    """

    def __init__(
        self, *, name: str, section: Any, head: Head, target: TargetMaker, loss: Loss, diversity: float = 0.1,
        group: int | None = None, plan: str = "mask",
    ) -> None:
        if group is not None and group < 1:
            raise RecipeError(f"group is {group}; it is a number of samples, at least 1, or none for the whole batch")
        super().__init__(
            name=name, head=head, target=target, loss=loss, network=section.network, view=section.view, plan=plan,
            stream=section.stream, scored=section.scored, weight=section.weight, taps=section.taps,
        )
        self.coupling = "global" if group is None else "group"
        self.group, self.diversity = 1 if group is None else group, diversity
        self.extra_term = f"{name}_diversity"

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """Scored frames, for both terms."""
        scored = self.scored(plans)
        return {self.name: scored.count(), self.extra_term: float(len(scored.rows()))}

    def forward(self, scene: Scene) -> Losses:
        """Both terms and the codebooks' use."""
        prediction = scene.predictions.get(self.name)
        if prediction is None:
            prediction = scene.predictions[self.name] = self.predict(scene)
        target = self.target(scene, prediction.scored)
        contrast = replace(self.loss(prediction, target), weight=self.weight)
        terms = {self.name: contrast, self.extra_term: self._diversity(target, scene)}
        return Losses(terms, self._use(target, scene))

    def _diversity(self, target: Target, scene: Scene) -> Term:
        """The diversity of each group times its frames, so that means over frames are means over groups."""
        rows, probs = target.scored.rows().to(target.value.device), target.extra["probs"]
        whole = self.coupling == "global"
        groups = 1 if whole else -(-len(scene.batch) // self.group)
        which = torch.zeros_like(rows) if whole else rows // self.group
        here = probs.new_zeros(groups).index_add(0, which, probs.new_ones(len(which)))
        summed = probs.new_zeros(groups, *probs.shape[1:]).index_add(0, which, probs)
        total, count = summed, here
        if whole and scene.training:
            total, count = across_ranks(summed), across_ranks(here)
        used = perplexity(total / count.clamp_min(1)[:, None, None]).sum(1)
        entries = probs.shape[1] * probs.shape[2]
        each = (entries - used) / entries
        return Term((each * here).sum(), float(len(rows)), self.diversity)

    @torch.no_grad()
    def _use(self, target: Target, scene: Scene) -> dict[str, Tensor | float]:
        ids, probs = target.extra["ids"], target.extra["probs"]
        hard = torch.nn.functional.one_hot(ids, probs.shape[-1]).to(probs.dtype)
        share = 1 / max(1, len(ids))
        numbers: dict[str, Tensor | float] = {
            "code_perplexity": perplexity(hard.sum(0) * share).sum(),
            "prob_perplexity": perplexity(probs.sum(0) * share).sum(),
        }
        temperature: Any = getattr(self.target, "temperature", None)
        if scene.training and temperature is not None:  # evaluation draws no noise
            numbers["temperature"] = temperature(scene.step)
        return numbers


class FeaturePenalty(nn.Module):
    """The mean square of the tokenizer's features over valid frames: keeps them small before their norm.

    fairseq multiplies it by 10 and averages over padding too. name, section (wired): the term's name, and its stream
    and weight; the features are always those of the clean view.
    """

    coupling = "none"

    def __init__(self, *, name: str, section: Any) -> None:
        super().__init__()
        self.name, self.weight, self.stream = name, section.weight, section.stream

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """Valid frames."""
        return {self.name: float(plans.layout(self.stream).lengths().sum())}

    def forward(self, scene: Scene) -> Losses:
        """One term; the mean over channels, summed over frames."""
        view = scene.view("clean")
        tokens = view.only() if self.stream is None else view.tokens[self.stream]
        values, layout = tokens.data, tokens.layout
        each = values.to(torch.promote_types(values.dtype, torch.float32)).square().mean(-1)
        if layout.valid is not None:
            each = each.masked_fill(~layout.valid.to(each.device), 0.0)
        return Losses({self.name: Term(each.sum(), float(layout.lengths().sum()), self.weight)})
