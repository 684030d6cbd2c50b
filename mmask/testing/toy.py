"""A toy modality: vectors in a row. Small enough to test an engine, whole enough to use every stage of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmask.keyed import Keys, fold, stream
from mmask.train.model import MaskedModel, PlanMaker, ViewMaker
from mmask.train.objective import MaskedObjective
from mmask.types import Batch, Encoded, Layout, MaskPlan, Prediction, Scored, Target, Term, Tokens, View


class ToyTokenizer:
    """The field ``x`` (B, N, D) as it is."""

    def layout(self, batch: Batch) -> Layout:
        """N places."""
        return Layout(len(batch), batch["x"].shape[1])

    def __call__(self, batch: Batch) -> Tokens:
        """The vectors."""
        return Tokens(self.layout(batch), batch["x"])


class ToyMasker:
    """Hides between one and N - 1 places of each sample: counts differ, so denominators matter."""

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """A random count and a random order from the keys."""
        order = torch.from_numpy(keys.order("order", layout.length))
        count = torch.from_numpy(keys.integers("count", 1, 1, layout.length))
        hidden = torch.zeros(layout.batch, layout.length, dtype=torch.bool)
        chosen = torch.arange(layout.length)[None] < count
        return MaskPlan.of_hidden(layout, hidden.scatter(1, order, chosen))


class ToyZero:
    """Hidden vectors become zeros."""

    site = "feature"

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Any) -> Tokens:
        """The stream with zeros at hidden places."""
        tokens = view.tokens[stream]
        hidden = plan.hidden.to(tokens.data.device)[..., None]
        return tokens.with_data(tokens.data.masked_fill(hidden, 0.0))


class ToyEncoder(nn.Module):
    """Mixes places and channels by two small matrices."""

    def __init__(self, places: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.mix, self.up = nn.Linear(places, places), nn.Linear(width, width)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def units(self) -> list[nn.Module]:
        """Its two matrices, each a unit of its own."""
        return [self.mix, self.up]

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """(B, N, D) states."""
        tokens = view.only()
        mixed = self.mix(tokens.data.transpose(1, 2)).transpose(1, 2)
        return Encoded(tokens.layout, self.drop(self.norm(torch.tanh(self.up(mixed)))))


class ToyHead(nn.Module):
    """A linear map at scored places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, width)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """(S, D)."""
        return Prediction(self.out(scored.take(encoded.places)), scored)


class ToyTarget:
    """The clean vectors."""

    def __call__(self, scene: Any, scored: Scored) -> Target:
        """(S, D)."""
        return Target(scored.take(scene.view("clean").only().data), scored)

    def trivial(self, target: Target) -> Prediction:
        """The mean of each vector."""
        value = target.value
        return Prediction(value.mean(-1, keepdim=True).expand_as(value), target.scored)


class ToyLoss:
    """Squared error, averaged in each place, summed over places."""

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """Over positions."""
        return Term((prediction.value - target.value).square().mean(-1).sum(), target.scored.count())


def toy_model(places: int = 6, width: int = 8, *, seed: int = 0, dropout: float = 0.0) -> MaskedModel:
    """A masked model of vectors. Draws its weights from torch's default generator."""
    return MaskedModel(
        tokenizers={"x": ToyTokenizer()}, maskers={"mask": PlanMaker(ToyMasker(), ("x",))},
        views={"masked": ViewMaker(corrupt=ToyZero())},
        networks={"encoder": ToyEncoder(places, width, dropout)},
        objectives={
            "vectors": MaskedObjective(name="vectors", head=ToyHead(width), target=ToyTarget(), loss=ToyLoss()),
        },
        seed=seed,
    )


def toy_batch(ids: Sequence[int], *, places: int = 6, width: int = 8, epoch: int = 0, position: int = 0) -> Batch:
    """Samples whose vectors are a function of their ids: a random mix of two directions, with a little noise."""
    words = np.array([fold("toy", i) for i in ids], np.uint64)
    noise = (stream(words, places * width) >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5
    base = np.sin(np.arange(places * width) * 0.7)
    scale = 1 + (words % np.uint64(7)).astype(np.float64)[:, None] / 7
    x = Tensor((base[None] * scale + 0.1 * noise).reshape(len(ids), places, width))
    return Batch(
        {"x": x}, words, np.full(len(ids), epoch, np.int64), tuple(f"toy:{i}" for i in ids), epoch, position
    )


class ToyReader:
    """`mmask.train.reader.Reader` over ``samples`` toy samples, in stored order, ``epoch`` after epoch.

    spoil: global positions whose sample is not finite, for tests of faults.
    """

    def __init__(
        self, *, samples: int = 64, held_out: int = 16, batch: int = 8, rank: int = 0, world: int = 1,
        spoil: frozenset[int] = frozenset(),
    ) -> None:
        self.samples, self.held_out, self.batch, self.units = samples, held_out, batch, samples
        self.rank, self.world, self.spoil = rank, world, spoil

    def train(self, step: int) -> Iterator[Batch]:
        """This rank's part of each global batch, from ``step`` on, without end."""
        part = self.batch // self.world
        while True:
            first = step * self.batch + self.rank * part
            spots = range(first, first + part)
            made = toy_batch([p % self.samples for p in spots], epoch=first // self.samples, position=first)
            for row, spot in enumerate(spots):
                if spot in self.spoil:
                    made["x"][row] = float("nan")
            yield made
            step += 1

    def val(self) -> Iterator[Batch]:
        """Held-out samples of this rank."""
        ids = range(1000, 1000 + self.held_out)[self.rank :: self.world]
        if ids:
            yield toy_batch(ids)

    def sight(self, count: int) -> Batch | None:
        """The first held-out samples, for pictures."""
        return toy_batch(range(1000, 1000 + min(count, self.held_out)))

    def close(self) -> None:
        """Nothing to close."""
