"""TextPreview: documents with what was hidden in them, and what the model says there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmask.api import Action, Batch, MaskedModel, MaskedObjective, RecipeError, preview_scene
from mmask_text.mlm import MlmHead
from mmask_text.page import FAINT, INK, Page, Panel, Piece
from mmask_text.rtd import RtdHead

_RIGHT, _WRONG, _ALARM, _GREY, _BLUE = "#bfe8c4", "#f6c1bd", "#fbe29a", "#d5d5d5", "#c5dbf7"
_PLANNED = {Action.MASK: ("masked", _GREY), Action.RANDOM: ("another id", _ALARM), Action.KEEP: ("kept", _BLUE)}


class TextPreview:
    """A few texts, piece by piece.

    Without a prediction, hidden pieces are boxed in the colour of what becomes of them. With one, each masked word
    objective shows its likeliest word at every hidden place, green where it is right and red where it is wrong, with
    the truth below; a replaced token objective shows what the discriminator saw, green where it caught a replacement,
    red where it missed one, yellow where it called an original replaced, with the original below.

    samples: texts drawn. lines: of each. width: of the picture in pixels.
    """

    def __init__(self, *, samples: int = 4, lines: int = 6, width: int = 900) -> None:
        self.samples, self.page = samples, Page(width=width, lines=lines)

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Raises RecipeError for a model without a stream of text."""
        with preview_scene(model, batch, plans, samples=self.samples) as scene:
            sights, batch = list(_said(model, scene)) if predict else [_planned(model, scene)], scene.batch
        panels = [
            Panel(f"{batch.names[row] if batch.names else row} · {sight.title}", sight.pieces(row))
            for row in range(len(batch)) for sight in sights
        ]
        return self.page.draw(panels, [piece for sight in sights for piece in sight.legend])


@dataclass(frozen=True)
class Sight:
    """One way of looking at the texts. ids: (B, N) what is drawn. below: (B, N) ids below, -1 for none. colour: (B, N)
    numbers into ``fills``, -1 for no box."""

    title: str
    vocabulary: Any
    layout: Any
    ids: torch.Tensor
    below: torch.Tensor
    colour: torch.Tensor
    fills: tuple[tuple[str, str], ...]

    @property
    def legend(self) -> list[Piece]:
        """What the colours mean."""
        return [Piece(f" {name} ", fill=fill) for name, fill in self.fills]

    def pieces(self, row: int) -> list[Piece]:
        """The real places of a text."""
        valid = torch.ones(self.ids.shape[1], dtype=torch.bool) if self.layout.valid is None else self.layout.valid[row]
        words = self.layout.groups.get("word")
        out = []
        for at in valid.cpu().nonzero().flatten().tolist():
            text = _written(self.vocabulary, int(self.ids[row, at]))
            inside = words is not None and at > 0 and 0 <= int(words[row, at]) == int(words[row, at - 1])
            under, colour = int(self.below[row, at]), int(self.colour[row, at])
            special = int(self.ids[row, at]) in self.vocabulary.special_ids
            below = "" if under < 0 else _written(self.vocabulary, under)
            fill = None if colour < 0 else self.fills[colour][1]
            out.append(Piece(text, below, fill, FAINT if special and colour < 0 else INK, not inside))
        return out


def _planned(model: MaskedModel, scene: Any) -> Sight:
    """The plan alone, of the first stream of ids."""
    found = [
        (stream, plan) for plans in scene.plans.plans.values() for stream, plan in plans.items()
        if hasattr(model.tokenizers[stream], "vocabulary")
    ]
    if not found:
        raise RecipeError("preview 'text' draws plans of texts; no plan of this recipe covers any")
    stream, plan = found[0]
    tokenizer: Any = model.tokenizers[stream]
    action = torch.where(plan.hidden, int(Action.MASK), 0) if plan.action is None else plan.action.long()
    colour = torch.full_like(action, -1)
    for number, one in enumerate(_PLANNED):
        colour[action == one] = number
    colour[plan.hidden & (colour < 0)] = 0  # what another action does is up to its corruption
    ids = tokenizer(scene.batch).ids.cpu()
    title = f"{plan.ratio():.0%} of the pieces hidden"
    return Sight(title, tokenizer.vocabulary, plan.layout, ids, ids * 0 - 1, colour, tuple(_PLANNED.values()))


def _said(model: MaskedModel, scene: Any) -> Iterator[Sight]:
    """What each objective over words or replacements says."""
    found = False
    for name, objective in model.objectives.items():
        if not isinstance(objective, MaskedObjective):
            continue
        stream = objective.stream or next(iter(model.tokenizers))
        head: Any = objective.head
        if isinstance(head, MlmHead | RtdHead):
            found = True
            yield (_words if isinstance(head, MlmHead) else _verdicts)(model, scene, name, stream)
    if not found:
        raise RecipeError("preview 'text' draws words or verdicts; no objective of this recipe predicts any")


def _words(model: MaskedModel, scene: Any, name: str, stream: str) -> Sight:
    prediction, clean = scene.predict(name), scene.view("clean").tokens[stream]
    truth, ids = clean.ids.cpu(), clean.ids.cpu().clone()
    index = prediction.scored.index.cpu()
    said = prediction.value.argmax(-1).cpu()
    ids.view(-1)[index] = said
    right = said == truth.view(-1)[index]
    colour, below = torch.full_like(ids, -1), torch.full_like(ids, -1)
    colour.view(-1)[index] = (~right).long()
    below.view(-1)[index[~right]] = truth.view(-1)[index[~right]]
    title = f"{name}: {int(right.sum())} of {len(right)} hidden pieces right in all texts"
    fills = (("predicted right", _RIGHT), ("wrong, the truth below", _WRONG))
    return Sight(title, _vocabulary(model, stream), clean.layout, ids, below, colour, fills)


def _verdicts(model: MaskedModel, scene: Any, name: str, stream: str) -> Sight:
    objective: Any = model.objectives[name]
    prediction, clean = scene.predict(name), scene.view("clean").tokens[stream]
    seen, truth = scene.view(objective.view).tokens[stream].ids.cpu(), clean.ids.cpu()
    accused = torch.zeros(truth.numel(), dtype=torch.bool)
    places = torch.arange(truth.numel()) if prediction.scored.index is None else prediction.scored.index.cpu()
    accused[places] = prediction.value.cpu() > 0
    accused, replaced = accused.view_as(truth), seen != truth
    colour = torch.full_like(seen, -1)
    colour[replaced & accused], colour[replaced & ~accused], colour[~replaced & accused] = 0, 1, 2
    below = torch.where(replaced, truth, -1)
    title = f"{name}: {int((replaced & accused).sum())} of {int(replaced.sum())} replacements caught in all texts"
    fills = (
        ("replaced and caught, the original below", _RIGHT), ("replaced and missed", _WRONG),
        ("original, called replaced", _ALARM),
    )
    return Sight(title, _vocabulary(model, stream), clean.layout, seen, below, colour, fills)


def _vocabulary(model: MaskedModel, stream: str) -> Any:
    tokenizer: Any = model.tokenizers[stream]
    return tokenizer.vocabulary


def _written(vocabulary: Any, number: int) -> str:
    """A piece as a reader would write it: without the marks of continuation or of spaces."""
    if not 0 <= number < vocabulary.size:
        return f"<{number}>"
    text = vocabulary.token(number) if number in vocabulary.special_ids else vocabulary.decode([number])
    return text.strip().removeprefix("##") or vocabulary.token(number)
