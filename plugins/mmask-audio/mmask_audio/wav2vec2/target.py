"""GumbelCodes: the target of wav2vec 2.0, codes of the unmasked features, learnt with the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import PlanError, RecipeError, Scene, Scored, Target, TargetSource
from mmask_audio.wav2vec2.draws import gumbel_noise, sample_negatives
from mmask_audio.wav2vec2.quantizer import GumbelQuantizer


class GumbelCodes(nn.Module):
    """Projected code vectors of the clean features at scored places, and negatives from the same clip.

    groups, entries: codebooks and entries in each. width: of a code vector. dim: of its projection, in which
    prediction and target are compared. negatives: K, drawn from the clip's other scored places. temperature: (first,
    last, factor): Gumbel softmax runs at max(first * factor ** step, last), a function of the step alone. dropout: of
    the features that are quantized. encoder: the network whose ``normalise`` the quantizer reads. plan: the plan whose
    ``extra`` may bring ``gumbel`` (B, N, G, V) noise and ``negatives`` (B, N, K) places instead of drawn ones.
    stream: which, when there are several. tokenizer (wired): offers ``dim``.

    Gradients flow into quantizer and features. ``extra``: ``negatives`` (S, K) rows of ``value``, ``ids`` (S, G),
    ``probs`` (S, G, V). Noise is drawn in training only; evaluation takes the likeliest entries.
    """

    def __init__(
        self, *, tokenizer: Any, groups: int = 2, entries: int = 320, width: int = 256, dim: int = 256,
        negatives: int = 100, temperature: Sequence[float] = (2.0, 0.5, 0.999995), dropout: float = 0.0,
        encoder: str = "encoder", plan: str = "mask", stream: str | None = None,
    ) -> None:
        super().__init__()
        first, last, factor = temperature
        if not (first >= last > 0 and 0 < factor <= 1) or negatives < 1:
            raise RecipeError(
                f"temperature is {tuple(temperature)}, negatives {negatives}; give a first temperature, a last one "
                "from 0 to it, a factor from 0 to 1, and at least one negative"
            )
        self.dim, self.negatives, self.encoder, self.plan, self.stream = dim, negatives, encoder, plan, stream
        self.schedule = (float(first), float(last), float(factor))
        self.quantizer = GumbelQuantizer(tokenizer.dim, groups=groups, entries=entries, width=width)
        self.project = nn.Linear(width, dim)
        self.dropout = nn.Dropout(dropout)

    def temperature(self, step: int) -> float:
        """Of the Gumbel softmax at a step."""
        first, last, factor = self.schedule
        return max(first * factor**step, last)

    def forward(self, scene: Scene, scored: Scored) -> Target:
        """value: (S, dim), attached. Raises PlanError when places are scored that were not drawn as hidden ones."""
        view: Any = scene.view("clean")
        tokens = view.only() if self.stream is None else view.tokens[self.stream]
        network: Any = scene.network(self.encoder)
        values = network.normalise(scored.take(tokens.values))
        counts = torch.bincount(scored.rows(), minlength=scored.layout.batch)
        given = scene.plan(self.plan, self.stream).extra
        noise = None
        if scene.training:
            noise = self._given_noise(given, scored)
            if noise is None:
                shape = (self.quantizer.groups, self.quantizer.entries)
                noise = gumbel_noise(scene.keys, counts, shape, torch.promote_types(values.dtype, torch.float32))
        made = self.quantizer(self.dropout(values), noise, self.temperature(scene.step))
        negatives = self._given_negatives(given, scored)
        if negatives is None:
            negatives = sample_negatives(scene.keys, counts, self.negatives)
        extra = {"negatives": negatives.to(values.device), "ids": made.ids, "probs": made.probs}
        value = self.project(made.vectors.to(self.project.weight.dtype))
        return Target(value, scored, TargetSource.NETWORK, attached=True, extra=extra)

    @staticmethod
    def _given_noise(given: Any, scored: Scored) -> Tensor | None:
        return scored.take(given["gumbel"]) if "gumbel" in given else None

    @staticmethod
    def _given_negatives(given: Any, scored: Scored) -> Tensor | None:
        """The places of a plan's own negatives -> rows of the scored ones."""
        if "negatives" not in given:
            return None
        layout, places = scored.layout, scored.index
        places = torch.arange(layout.batch * layout.length) if places is None else places
        row_of = torch.full((layout.batch * layout.length,), -1)
        row_of[places] = torch.arange(len(places))
        asked = scored.take(given["negatives"]) + (scored.rows() * layout.length)[:, None]
        rows = row_of[asked]
        if bool((rows < 0).any()):
            raise PlanError("a plan's negatives name places that are not scored", hint="draw them from hidden places")
        return rows
