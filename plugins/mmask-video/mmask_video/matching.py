"""Matching: which of the captions of its group belongs to a clip (VIOLET)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.api import Encoded, Losses, PairScores, Plans, RecipeError, Scene, Term


class Matching(PairScores, nn.Module):
    """Each clip with its own caption and with those of the other samples of its group; -log softmax of its own.

    group: consecutive samples whose captions stand against each other, but for equal ones; a last, smaller group is one
    too. temperature: what scores are divided by. dropout: before the two layers that score the first word's state.
    networks (wired): the network ``section.network`` offers ``fuse`` and the taps ``clip`` and ``words``
    (`mmask_video.violet`).
    """

    coupling = "group"

    def __init__(
        self, *, name: str, section: Any, networks: Mapping[str, Any], group: int = 4, temperature: float = 0.05,
        dropout: float = 0.1, text: str = "text",
    ) -> None:
        super().__init__()
        if group < 2 or temperature <= 0:
            raise RecipeError(f"objectives.{name}: group {group} must be at least 2, temperature {temperature} above 0")
        network = networks[section.network]
        if not hasattr(network, "fuse"):
            raise RecipeError(f"objectives.{name}: network '{section.network}' cannot fuse a clip with other words")
        self.name, self.network, self.view, self.weight = name, section.network, section.view, section.weight
        self.group, self.temperature, self.text = group, temperature, text
        self.taps: Mapping[tuple[str, str], Sequence[str]] = {(self.network, self.view): ("clip", "words")}
        width = int(network.width)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 1))
        self.two_sided(networks)

    def denominators(self, plans: Plans) -> Mapping[str, float]:
        """One decision a sample."""
        return {self.name: float(len(plans.batch))}

    def others(self, batch: int) -> Tensor:
        """(B, g - 1) int64: the other samples of each one's group, -1 where a smaller group has none."""
        here = torch.arange(batch)
        start = here // self.group * self.group
        size = torch.clamp(batch - start, max=self.group)
        turn = torch.arange(1, min(self.group, batch))
        found = start[:, None] + (here[:, None] - start[:, None] + turn) % size[:, None]
        return torch.where(turn < size[:, None], found, -1)

    def wrong(self, scene: Scene) -> Tensor:
        """`others` without those whose caption says the same: what two clips are called is right for both."""
        others = self.others(len(scene.batch))
        ids: Any = scene.view("clean").tokens[self.text].ids
        if ids.is_meta:  # shapes alone
            return others
        ids = ids.cpu()
        return others.masked_fill((ids[others.clamp_min(0)] == ids[:, None]).all(-1), -1)

    def scores(self, scene: Scene, others: Tensor) -> Tensor:
        """(B, 1 + K) scores over the temperature: each sample's own caption, then those of ``others`` (B, K); -inf
        where that is -1."""
        encoded = scene.encode(self.network, self.view, taps=("clip", "words"))
        network: Any = scene.network(self.network)
        clip, words = encoded.taps["clip"], encoded.taps["words"]
        valid = scene.view(self.view).tokens[self.text].layout.valid
        pooled = [encoded.pooled]
        for column in others.unbind(1):
            other = column.clamp_min(0)
            fused, _ = network.fuse(
                clip, words[other.to(words.device)], None if valid is None else valid[other.to(valid.device)]
            )
            pooled.append(fused[:, clip.shape[1]])
        made = torch.cat([self.score(each) for each in pooled if each is not None], 1) / self.temperature
        absent = torch.cat([torch.zeros(len(others), 1, dtype=torch.bool), others < 0], 1)
        return made.masked_fill(absent.to(made.device), -torch.inf)

    def own(self, encoded: Encoded) -> Tensor:
        """(P,) scores over the temperature."""
        return self.score(encoded.pooled)[:, 0] / self.temperature

    def trivial(self, scene: Scene) -> Losses:
        """Of one to whom all captions of a group are alike."""
        found = self.wrong(scene) >= 0
        return Losses({self.name: Term((1 + found.sum(1)).log().sum(), float(len(found)), self.weight)})

    def forward(self, scene: Scene) -> Losses:
        """The term ``name``: over samples."""
        scores = self.scores(scene, self.wrong(scene))
        own = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        loss = F.cross_entropy(scores, own, reduction="sum")
        return Losses({self.name: Term(loss, float(len(scores)), self.weight)})
