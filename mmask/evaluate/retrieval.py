"""retrieval: given one side of a sample, find the other among those of all samples."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.errors import RecipeError
from mmask.evaluate.gallery import draw_gallery
from mmask.evaluate.matrix import Sides, device_of, digests, ranks, read_sides, recalls, score_matrix, scorer_of
from mmask.keyed import fold, seeded_scope
from mmask.protocols import WholeModel
from mmask.recipe.schema import OptimSection
from mmask.train.optim import make_optimizer, set_lr
from mmask.train.seed import seed_model
from mmask.types import Batch, Judged

AT = (1, 5, 10)


class Retrieval:
    """Recall at 1, 5 and 10 and the median rank both ways, over the full matrix of scores.

    Scores are those of the run's matching or contrastive objective (`mmask.api.PairScorer`), as it was pretrained, or
    after ``epochs`` of fine-tuning. Numbers are named after what is asked with: ``text_r1`` is the share of texts whose
    own picture comes first. Sides that are equal in several samples are one; a query with several right answers counts
    the best of them. ``recall`` is the mean of all recalls.

    objective: by name, where several score pairs. chunk: pairs scored at once. epochs, batch, lr, warmup, weight_decay,
    clip: of fine-tuning on ``--data``: every pair of a batch is scored, -log softmax of the right one over its row and
    over its column, half of each; AdamW, the rate rises over the share ``warmup`` and falls as half a cosine. Other
    right answers in a batch are no wrong ones. gallery: queries drawn of either side, 0 for none; shown: answers to
    each.
    """

    wants = "model"

    def __init__(
        self, *, objective: str = "", chunk: int = 512, epochs: int = 0, batch: int = 16, lr: float = 5e-5,
        warmup: float = 0.1, weight_decay: float = 0.01, clip: float | None = 1.0, gallery: int = 6, shown: int = 5,
    ) -> None:
        if chunk < 1 or epochs < 0 or batch < 2 or not 0 <= warmup < 1 or gallery < 0 or shown < 1:
            raise RecipeError(
                f"retrieval takes chunk >= 1, epochs >= 0, batch >= 2, warmup in [0, 1), gallery >= 0, shown >= 1; got "
                f"{chunk}, {epochs}, {batch}, {warmup}, {gallery}, {shown}"
            )
        self.objective, self.chunk, self.epochs, self.batch, self.lr = objective, chunk, epochs, batch, lr
        self.warmup, self.weight_decay, self.clip = warmup, weight_decay, clip
        self.gallery, self.shown = gallery, shown

    def __call__(self, whole: WholeModel, *, seed: int) -> Judged:
        """The numbers, what chance would give, and pictures of queries with their first answers."""
        model = whole.fresh() if self.epochs else whole.model
        name, scorer = scorer_of(model, self.objective)
        about: dict[str, Any] = {"objective": name, "sides": list(scorer.sides)}
        if self.epochs:
            with seeded_scope(fold(seed, "retrieval")), torch.enable_grad():
                about["last_loss"] = round(self._learn(whole, model, scorer, seed), 5)
            model.eval()
        sides = read_sides(model, scorer, whole.stored(len(whole)))
        scores = score_matrix(model, scorer, sides, chunk=self.chunk, device=device_of(model))
        numbers: dict[str, float] = {}
        chance: dict[str, float] = {}
        for stream, table, belongs in ((scorer.sides[0], scores, sides.belongs),
                                       (scorer.sides[1], scores.T, sides.belongs.T)):
            numbers |= recalls(ranks(table, belongs), stream, AT)
            chance |= {f"{stream}_r{k}": _by_chance(belongs, k) for k in AT}
        shares = [value for metric, value in numbers.items() if not metric.endswith("_median")]
        about |= {"compared": dict(zip(scorer.sides, sides.belongs.shape, strict=True)), "chance": chance}
        pictures = self._pictures(whole, model, scorer, sides, scores) if self.gallery else {}
        return Judged({"recall": sum(shares) / len(shares), **numbers}, about, pictures)

    def _learn(self, whole: WholeModel, model: Any, scorer: Any, seed: int) -> float:
        """-> the mean loss of the last epoch."""
        section = OptimSection(lr=self.lr, weight_decay=self.weight_decay)
        optimizer = make_optimizer(model, section, self.lr)
        size, samples = self.batch, whole.fitted()
        steps = -(-self.epochs * samples // size)
        losses: list[float] = []
        model.train()
        for number, batch in enumerate(whole.train(batch=size, epochs=self.epochs, seed=seed)):
            if len(batch) < 2:
                continue
            seed_model(seed, number, 0, 0)
            set_lr(optimizer, self.lr * self._share(number / steps))
            loss = matrix_loss(model, scorer, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self.clip)
            optimizer.step()
            losses.append(float(loss.detach()))
        last = losses[-max(1, len(losses) // self.epochs) :]
        return sum(last) / len(last)

    def _share(self, done: float) -> float:
        warm = self.warmup
        return done / warm if done < warm else 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

    def _pictures(self, whole: WholeModel, model: Any, scorer: Any, sides: Sides, scores: Tensor) -> dict[str, Any]:
        """Galleries by the stream that is asked with, where its tokenizers can show samples."""
        shows: list[Any] = [getattr(model.tokenizers[stream], "show", None) for stream in scorer.sides]
        if None in shows:
            return {}
        asked = [_asked(scores, sides.belongs, self.gallery, self.shown),
                 _asked(scores.T, sides.belongs.T, self.gallery, self.shown)]
        wanted: list[set[int]] = [set(), set()]
        for which, (picked, best, _, _) in enumerate(asked):
            wanted[which] |= set(picked)
            wanted[1 - which] |= {row for line in best for row in line}
        seen: list[dict[int, Any]] = [{}, {}]
        start = 0
        for batch in whole.stored(len(whole)):
            for which in (0, 1):
                here = ((one, sides.rows[which][one] - start) for one in wanted[which])
                seen[which].update({one: shows[which](batch, row) for one, row in here if 0 <= row < len(batch)})
            start += len(batch)
        return {
            stream: draw_gallery(
                [seen[which][one] for one in picked], [[seen[1 - which][one] for one in line] for line in best],
                right, places,
            )
            for which, (stream, (picked, best, right, places)) in enumerate(zip(scorer.sides, asked, strict=True))
        }


def _asked(
    scores: Tensor, belongs: Tensor, count: int, shown: int
) -> tuple[list[int], list[list[int]], list[list[bool]], list[float]]:
    """Some rows, evenly spread; the best columns of each; which of them are right; where the first right one is."""
    count = min(count, len(scores))
    picked = torch.arange(count) * len(scores) // count
    best = scores[picked].topk(min(shown, scores.shape[1]), 1).indices
    right = belongs[picked].gather(1, best)
    return picked.tolist(), best.tolist(), right.tolist(), ranks(scores[picked], belongs[picked]).tolist()


def matrix_loss(model: Any, scorer: Any, batch: Batch) -> Tensor:
    """-log softmax of a batch's own pairs over rows and over columns, the mean of both; other right ones left out."""
    scene = model.scene(batch, {})
    halves = [scorer.side(scene, stream) for stream in scorer.sides]
    scores = scorer.pair_scores(model, *halves)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    names = [digests(scene.view("clean").tokens[stream]) for stream in scorer.sides]
    same = torch.tensor([[any(names[s][a] == names[s][b] for s in (0, 1)) for b in range(len(batch))]
                         for a in range(len(batch))])
    own = torch.arange(len(batch), device=scores.device)
    scores = scores.masked_fill(same.fill_diagonal_(False).to(scores.device), -torch.inf)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def _by_chance(belongs: Tensor, k: int) -> float:
    """The expected recall of random orders: 1 - the chance that the first k are all wrong."""
    much = belongs.shape[1]
    total = 0.0
    for right in belongs.sum(1).tolist():
        wrong = 1.0
        for turn in range(min(k, much)):
            wrong *= max(0, much - right - turn) / (much - turn)
        total += 1 - wrong
    return total / len(belongs)
