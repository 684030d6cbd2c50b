"""The smallest component of each kind, for testing others: vectors in a row, a few lines each.

    Host(entries=[fakes.entry()])              # a plugin ``fakes`` with all of them and recipe ``fakes-tiny``
    fakes.batch(4)                             # what its decoder would make
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mmask.errors import SampleError
from mmask.keyed import Keys, fold
from mmask.plugin.component import Component
from mmask.plugin.entries import Entry
from mmask.plugin.spec import hookimpl
from mmask.recipe.schema import (
    DataSection,
    NetworkSection,
    ObjectiveSection,
    OptimSection,
    Recipe,
    ScheduleSection,
    ViewSection,
    use,
)
from mmask.types import (
    Batch,
    Encoded,
    Layout,
    MaskPlan,
    Prediction,
    Sample,
    Scored,
    Target,
    Term,
    Tokens,
    View,
)


class FakeDecoder:
    """The part ``npy``, 16 float32 values, as ``x`` (4, 4). noise: scale of a keyed perturbation."""

    def __init__(self, *, noise: float = 0.0) -> None:
        self.noise = noise

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``x``: (4, 4) float32."""
        try:
            values = np.load(io.BytesIO(sample.parts["npy"]), allow_pickle=False).reshape(4, 4)
        except (KeyError, ValueError, EOFError) as error:
            raise SampleError(f"{sample.id} has no readable npy part") from error
        if keys is not None and self.noise:
            values = values + self.noise * keys.uniform("noise", 16).reshape(4, 4)
        return {"x": torch.from_numpy(values.astype(np.float32))}


class FakeTokenizer:
    """Each row of ``x`` (B, N, D) is a token. width: D."""

    def __init__(self, *, width: int = 4, places: int = 4) -> None:
        self.dim, self.grid = width, (places,)

    def layout(self, batch: Batch) -> Layout:
        """N places on a line."""
        return Layout(len(batch), batch["x"].shape[1], grid=(batch["x"].shape[1],))

    def __call__(self, batch: Batch) -> Tokens:
        """The rows."""
        return Tokens(self.layout(batch), batch["x"])


class FakeMasker:
    """Hides the first places of a keyed order. ratio: share of the places, at least one hidden and one kept."""

    def __init__(self, *, ratio: float = 0.5) -> None:
        self.ratio = ratio

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The same number in every sample."""
        keep = min(layout.length - 1, max(1, round(layout.length * (1 - self.ratio))))
        order = torch.from_numpy(keys.order("fake", layout.length))
        return MaskPlan.of_hidden(layout, torch.ones(layout.batch, layout.length, dtype=torch.bool).scatter(
            1, order[:, :keep], False
        ))


class FakeCorruption:
    """Hidden places become zeros."""

    site = "feature"

    def __call__(self, view: View, stream: str, plan: MaskPlan, scene: Any) -> Tokens:
        """The tokens with zeros."""
        tokens = view.tokens[stream]
        assert tokens.values is not None
        hidden = plan.hidden.to(tokens.values.device)[..., None]
        return Tokens(tokens.layout, tokens.values.masked_fill(hidden, 0.0))


class FakeEncoder(nn.Module):
    """One linear layer and the mean of all places added to each. width: channels of a state."""

    prefix = 0

    def __init__(self, *, tokenizer: Any, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(tokenizer.dim, width)

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """(B, N, width)."""
        tokens = view.only()
        x = self.embed(tokens.values)
        return Encoded(tokens.layout, torch.tanh(x + x.mean(1, keepdim=True)))


class FakeHead(nn.Module):
    """A linear map at scored places."""

    def __init__(self, *, network: Any, tokenizer: Any) -> None:
        super().__init__()
        self.out = nn.Linear(network.width, tokenizer.dim)

    def forward(self, encoded: Encoded, scored: Scored) -> Prediction:
        """(S, D)."""
        return Prediction(self.out(scored.take(encoded.places)), scored)


class FakeTarget:
    """The clean values."""

    def __call__(self, scene: Any, scored: Scored) -> Target:
        """(S, D)."""
        return Target(scored.take(scene.view("clean").only().values), scored)


def fake_loss(prediction: Prediction, target: Target) -> Term:
    """Squared error, averaged in a place and summed over places: a loss that is a plain function."""
    error = (prediction.value - target.value.to(prediction.value.dtype)).square().mean(-1)
    return Term(error.sum(), prediction.scored.count())


def fake_preview(model: Any, batch: Batch, *, plans: Any = None, predict: bool = True) -> np.ndarray:
    """Hidden places black, kept ones white: (B, N, 3)."""
    from mmask.train.preview import preview_scene

    with preview_scene(model, batch, plans) as scene:
        hidden = scene.plan("mask").hidden.numpy()
    return np.repeat(np.where(hidden, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def tiny() -> Recipe:
    """A recipe of the fakes."""
    return Recipe(
        name="fakes-tiny", summary="vectors", data=DataSection(decode={"x": use("fake")}, batch_size=8, workers=0),
        tokenize={"x": use("fake")}, mask=use("fake", ratio=0.5),
        views={"masked": ViewSection(corrupt=use("fake"))},
        networks={"encoder": NetworkSection(use="fake", width=8)},
        objectives={"vectors": ObjectiveSection(head=use("fake"), target=use("fake"), loss=use("fake"))},
        optim=OptimSection(lr=1e-2), schedule=ScheduleSection(epochs=4, warmup_steps=2), preview=use("fake"),
        profiles={"demo": {"data.batch_size": 4, "schedule.steps": 5}},
    )


_CLASSES = {
    "decoder": "FakeDecoder", "tokenizer": "FakeTokenizer", "masker": "FakeMasker",
    "corruption": "FakeCorruption", "encoder": "FakeEncoder", "head": "FakeHead", "target": "FakeTarget",
    "loss": "fake_loss", "preview": "fake_preview",
}


class Manifest:
    """A manifest as an object; more: components beside the fakes. without: kinds to leave out."""

    def __init__(self, more: Iterable[Component] = (), *, without: Sequence[str] = ()) -> None:
        self.more, self.without = tuple(more), without

    @hookimpl
    def mmask_components(self) -> list[Component]:
        """The fakes."""
        own = [Component("recipe", "fakes-tiny", "mmask.testing.fakes:tiny", "vectors")]
        own += [Component(kind, "fake", f"mmask.testing.fakes:{name}", "a fake") for kind, name in _CLASSES.items()]
        return [c for c in own if c.kind not in self.without] + list(self.more)


def entry(name: str = "fakes", *more: Component, without: Sequence[str] = ()) -> Entry:
    """The fakes as a plugin that `mmask.plugin.host.Host` takes without anything installed."""
    return Entry(name, Manifest(more, without=without), f"mmask-{name}", "0.0")


def batch(size: int = 4, *, first: int = 0) -> Batch:
    """Samples of 4 vectors of width 4, a function of their numbers."""
    numbers = np.arange(first, first + size)
    x = np.sin(np.arange(16, dtype=np.float32)[None] * (numbers[:, None] + 1)).astype(np.float32)
    ids = np.array([fold("fake", int(n)) for n in numbers], np.uint64)
    return Batch({"x": torch.from_numpy(x).view(size, 4, 4)}, ids, np.zeros(size, np.int64))
