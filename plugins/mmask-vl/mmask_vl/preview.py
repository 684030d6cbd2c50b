"""WordsAndRegions: what was hidden of a pair, what the model makes of it, and which word goes to which region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from mmask.api import Batch, MaskedModel, RecipeError, preview_scene
from mmask_vl.drawing import LINE, picture_of, pixels
from mmask_vl.matching import ImageTextMatching

_PAPER, _INK, _HIDDEN = (250, 250, 248), (40, 40, 40), (70, 70, 75)
_WARM = np.array([214, 60, 40], np.float32)
_LEFT, _FOOT, _GAP = 10, 34, 8


def warmth(shares: np.ndarray) -> np.ndarray:
    """(words, R) shares of a word -> (words, R) in [0, 1]: how far a region's share is above an even one, as a part of
    the largest excess of all these words, which counts as no less than one more even share."""
    if not shares.size:
        return shares
    excess = shares * shares.shape[1] / np.maximum(shares.sum(1, keepdims=True), 1e-12) - 1
    warm: np.ndarray = np.clip(excess / max(1.0, float(excess.max())), 0, 1)
    return warm


@dataclass(frozen=True)
class Row:
    """One pair as it is drawn. boxes: (R, 4). hidden: (R,) bool. back: (S, S, 3) uint8. caption: its words, hidden ones
    in brackets. words: those that are drawn. shares: (words, R) in [0, 1], how warm."""

    boxes: np.ndarray
    hidden: np.ndarray
    back: np.ndarray
    caption: str
    words: tuple[str, ...]
    shares: np.ndarray


class WordsAndRegions:
    """A line for each pair: the picture with its regions, hidden ones dark; then, after a prediction, the same picture
    once for each word, its regions as warm as the plan of transport sends the word there, or the word looks there,
    beyond what even shares would give; even shares stay pale. Below: the caption, hidden pieces of words in brackets
    with the model's guess behind an arrow.

    The picture itself is drawn where the decoder of regions reads it (``picture``). Without it regions show their first
    3 · mosaic² features as colours, which is right for regions of `mmask_vl.describe`; mosaic 0 draws outlines alone.
    samples: pairs. words: drawn for each. tile: side of a picture in pixels. mlm, hides, matching: the objectives whose
    guesses are shown, whose plan hides regions, and which aligns. attention: a tap of the network in place of the last,
    the shares (B, heads, words, regions) with which words look at regions; their mean over heads is drawn (LXMERT:
    ``cross.-1.words``).
    """

    def __init__(
        self, *, samples: int = 4, words: int = 6, tile: int = 128, mosaic: int = 4, mlm: str = "mlm",
        hides: str = "mrfr", matching: str = "itm", attention: str = "",
    ) -> None:
        self.samples, self.words, self.tile, self.mosaic = samples, words, tile, mosaic
        self.mlm, self.hides, self.matching, self.attention = mlm, hides, matching, attention

    def __call__(
        self, model: MaskedModel, batch: Batch, *, plans: Any = None, predict: bool = True
    ) -> np.ndarray:
        """(H, W, 3) uint8. Without ``predict`` only the plans are drawn and no network is run."""
        named = [self.mlm, self.hides, *([] if self.attention else [self.matching])]
        missing = [name for name in named if name not in model.objectives]
        if missing:
            raise RecipeError(f"preview 'words-and-regions' draws objective '{missing[0]}', which the recipe has not")
        with preview_scene(model, batch, plans, samples=self.samples) as scene:
            return self._page(self._rows(model, scene, predict), predict)

    def _rows(self, model: MaskedModel, scene: Any, predict: bool) -> list[Row]:
        mlm: Any = model.objectives[self.mlm]
        hides: Any = model.objectives[self.hides]
        text, regions = str(mlm.stream), str(hides.stream)
        tokenizer: Any = model.tokenizers[regions]
        tokens = scene.view("clean").tokens[regions]
        features, boxes = (part.float().cpu().numpy() for part in tokenizer.split(tokens.values))
        hidden = scene.plan(str(hides.plan), regions).hidden.numpy()
        counts, shown = tokens.layout.lengths().tolist(), f"{tokenizer.field}.image"
        guesses = mlm.predict(scene) if predict else None
        shares = self._shares(model, scene, mlm.network) if predict else None
        made = []
        for row, count in enumerate(counts):
            caption, words = self._caption(model.tokenizers[text], scene, mlm, row, guesses)
            drawn = words[: self.words]
            warm = np.zeros((len(drawn), count))
            if shares is not None:
                for number, (places, _) in enumerate(drawn):
                    warm[number] = shares[row, :count, places].sum(1).cpu().numpy()
                warm = warmth(warm)
            image = scene.batch[shown][row].cpu() if shown in scene.batch.fields else None
            back = picture_of(features[row, :count], boxes[row, :count], image, self.tile, self.mosaic)
            made.append(Row(boxes[row, :count, :4], hidden[row, :count], back, caption,
                            tuple(word for _, word in drawn) if predict else (), warm))
        return made

    def _shares(self, model: MaskedModel, scene: Any, network: str) -> Tensor:
        """(B, R, L): the plan of transport of clean pairs, or how much their words look at regions."""
        if self.attention:
            return scene.encode(network, "clean", taps=(self.attention,)).taps[self.attention].mean(1).transpose(1, 2)
        matching = model.objectives[self.matching]
        if not isinstance(matching, ImageTextMatching):
            raise RecipeError(f"preview 'words-and-regions': objective '{self.matching}' aligns no words with regions")
        return matching.distances(scene.encode(network, "clean"))[1]

    def _caption(
        self, tokenizer: Any, scene: Any, mlm: Any, row: int, guesses: Any
    ) -> tuple[str, list[tuple[list[int], str]]]:
        """The caption, and (places, word) of its words; marks are no words."""
        tokens = scene.view("clean").tokens[str(mlm.stream)]
        layout, vocabulary = tokens.layout, tokenizer.vocabulary
        plan, free = scene.plan(str(mlm.plan), str(mlm.stream)), layout.maskable()[row]
        said: dict[int, int] = {}
        if guesses is not None:
            best = guesses.value.argmax(-1).tolist()
            said = dict(zip(guesses.scored.index.tolist(), best, strict=True))
        line, words = [], []
        if getattr(tokenizer, "pairs", "") == "other" and not bool(tokenizer.follows(scene.batch)[row]):
            line.append("(another picture's text) ")
        for places in together(free.nonzero().flatten().tolist(), layout.groups.get("word"), row):
            pieces, shown = [written(vocabulary, int(tokens.ids[row, place])) for place in places], []
            for place, piece in zip(places, pieces, strict=True):
                guess = said.get(row * layout.length + place)
                arrow = "" if guess is None else f" -> {written(vocabulary, guess)}"
                shown.append(f"[{piece}{arrow}]" if bool(plan.hidden[row, place]) else piece)
            told = any(one.isalnum() for one in "".join(pieces))
            line.append(" " * (told and bool(line)) + "".join(shown))
            if told:
                words.append((places, "".join(pieces)))
        return "".join(line), words

    def _page(self, rows: list[Row], predict: bool) -> np.ndarray:
        across = 1 + (self.words if predict else 0)
        width = _LEFT + across * (self.tile + _GAP)
        width = max(width, _LEFT + max((7 * len(row.caption) for row in rows), default=0))
        block = self.tile + _FOOT
        page = Image.new("RGB", (width, _GAP + block * len(rows)), _PAPER)
        draw = ImageDraw.Draw(page)
        for number, row in enumerate(rows):
            top = _GAP + number * block
            page.paste(self._hidden(row), (_LEFT, top))
            for column, word in enumerate(row.words, start=1):
                left = _LEFT + column * (self.tile + _GAP)
                page.paste(self._warm(row, row.shares[column - 1]), (left, top))
                draw.text((left, top + self.tile + 2), word, fill=_INK)
            draw.text((_LEFT, top + self.tile + (16 if row.words else 4)), row.caption, fill=_INK)
        return np.asarray(page)

    def _hidden(self, row: Row) -> Image.Image:
        """The picture, hidden regions dark."""
        tile = Image.fromarray(row.back.copy())
        draw = ImageDraw.Draw(tile)
        for box, hidden in zip(row.boxes, row.hidden, strict=True):
            draw.rectangle(pixels(box, self.tile), fill=_HIDDEN if hidden else None, outline=LINE)
        return tile

    def _warm(self, row: Row, shares: np.ndarray) -> Image.Image:
        """The picture, paler, its regions as warm as their shares; of overlapping ones the warmest counts."""
        heat = np.zeros((self.tile, self.tile, 1), np.float32)
        for box, share in zip(row.boxes, shares, strict=True):
            left, top, right, bottom = pixels(box, self.tile)
            part = heat[top : bottom + 1, left : right + 1]
            np.maximum(part, share, out=part)
        pale = 0.5 * row.back.astype(np.float32) + 127.5
        return Image.fromarray(((1 - 0.8 * heat) * pale + 0.8 * heat * _WARM).astype(np.uint8))


def together(places: Sequence[int], words: Tensor | None, row: int) -> list[list[int]]:
    """Neighbouring places of one word; each alone where ``words`` (B, N) are not known."""
    made: list[list[int]] = []
    for place in places:
        word = -1 if words is None else int(words[row, place])
        if made and words is not None and word >= 0 and word == int(words[row, made[-1][-1]]):
            made[-1].append(place)
        else:
            made.append([place])
    return made


def written(vocabulary: Any, number: int) -> str:
    """A piece without the marks of continuation or of spaces."""
    if not 0 <= number < vocabulary.size:
        return f"<{number}>"
    text = vocabulary.token(number) if number in vocabulary.special_ids else vocabulary.decode([number])
    return text.strip().removeprefix("##") or vocabulary.token(number)
