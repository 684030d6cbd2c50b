"""Pictures of texts: the right colours at the right places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mmask.api import MaskedModel, Prediction, RecipeError, Scored, use
from mmask_text.page import Page, Panel, Piece
from mmask_text.preview import _RIGHT, _WRONG, TextPreview, _planned, _said
from mmask_text.recipes.bert import bert_tiny
from mmask_text.recipes.electra import electra_tiny


@pytest.fixture(name="model", params=[bert_tiny, electra_tiny], ids=["bert", "electra"])
def model_(request: Any, build: Any) -> MaskedModel:
    recipe = request.param()
    for network in recipe.networks.values():
        network.depth = 1
    recipe.tokenize["text"] = use("ids")
    return build(recipe).eval()


def has(image: np.ndarray, colour: str) -> bool:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((image == np.array(rgb, np.uint8)).all(-1).any())


def test_a_plan_is_drawn_without_a_prediction_and_leaves_the_mode_alone(model, texts):
    batch = texts(30, 20, 25, size=900)
    model.train()
    image = TextPreview(samples=2, width=500)(model, batch, predict=False)
    assert image.dtype == np.uint8 and image.shape[1:] == (500, 3)
    assert model.training
    sight = _planned(model, model.scene(batch))
    hidden = model.scene(batch).plan("mask").hidden
    assert torch.equal(sight.colour >= 0, hidden)
    assert [piece.fill is not None for piece in sight.pieces(0)] == hidden[0].tolist()
    assert len(sight.pieces(1)) == 20


def test_right_and_wrong_words_and_replacements_have_their_colours(model, texts):
    batch = texts(30, 20, 25, size=900)
    scene = model.scene(batch)
    hidden = Scored.hidden(scene.plan("mask"))
    truth = hidden.take(batch["text"])
    sure = torch.nn.functional.one_hot(truth, model.tokenizers["text"].size).float() * 99
    sure[0] = sure[0].roll(1)
    model.objectives["words"].predict = lambda scene: Prediction(sure, hidden)
    with torch.no_grad():
        sights = list(_said(model, model.scene(batch)))
    seen = sights[0]
    assert (seen.colour == 0).sum() == len(truth) - 1
    assert (seen.colour == 1).sum() == 1
    assert int(seen.below[seen.colour == 1]) == int(truth[0])
    assert [len(sight.legend) for sight in sights] == ([2] if len(sights) == 1 else [2, 3])
    if len(sights) == 2:
        changed = sights[1].ids != batch["text"]
        assert changed.sum() == 1
        assert ((sights[1].colour == 0) | (sights[1].colour == 1)).sum() == 1
        assert torch.equal(sights[1].below >= 0, changed)
    image = TextPreview(samples=3)(model, batch)
    assert has(image, _RIGHT) and has(image, _WRONG)


def test_a_model_of_something_else_is_refused(model, texts):
    for objective in model.objectives.values():
        objective.head = torch.nn.Identity()
    with pytest.raises(RecipeError, match="no objective of this recipe predicts any"):
        TextPreview()(model, texts(9, size=900))


def test_long_texts_end_and_words_stay_whole():
    word = [Piece("some"), Piece("thing", space=False)]
    page = Page(width=200, lines=2)
    lines = page._lay(word * 30)
    assert len(lines) == 2
    assert lines[-1][-1][1].text == "\u2026"
    for line in lines:
        texts = [piece.text for _, piece in line if piece.text != "\u2026"]
        assert texts == ["some", "thing"] * (len(texts) // 2)
    assert page.draw([Panel("a", word)], []).shape[1] == 200
