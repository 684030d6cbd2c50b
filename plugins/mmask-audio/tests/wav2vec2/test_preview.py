"""The picture of wav2vec 2.0: what is hidden, padding, and the choices it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmask.api import RecipeError, preview_scene
from mmask_audio.wav2vec2.preview import _BARS, _HIDDEN, _RIGHT, _ROW, _WRONG, WaveformPreview, _told

EACH, LEFT, TITLE = 2, 8, 14  # pixels of a frame; where the first strip begins


@pytest.fixture
def drawn(build, clips):
    """A model, a batch of one long and one short clip, its plans, and a preview with 2 pixels a frame."""
    model = build().float()
    batch = clips((1010, 430))
    batch = replace(batch, fields={**batch.fields, "audio": batch["audio"].float()})
    plans = model.draw(batch)
    frames = plans.layout().length
    return model, batch, plans, WaveformPreview(samples=2, across=1, wide=EACH * frames, bins=4)


def strip(picture, row, number, frames, heights):
    """Rows of pixels of strip ``number`` of a recording."""
    block = sum(TITLE + high for high in heights) + 8
    top = LEFT + row * block + sum(TITLE + high for high in heights[:number]) + TITLE
    return picture[top : top + heights[number], LEFT : LEFT + EACH * frames]


def test_hidden_spans_and_padding_are_where_the_plan_says(drawn):
    model, batch, plans, draw = drawn
    picture, frames = draw(model, batch, plans=plans, predict=False), plans.layout().length
    lengths = plans.layout().lengths().tolist()
    assert lengths[1] < lengths[0] == frames
    for row in range(2):
        wave = strip(picture, row, 0, frames, [40, 64])
        marked = (wave == _HIDDEN).all(-1).any(0)[::EACH]
        assert np.array_equal(marked, plans.plan("mask").hidden[row].numpy())
        spectrum = strip(picture, row, 1, frames, [40, 64])
        assert np.array_equal((spectrum == 150).all(-1).all(0)[::EACH], plans.plan("mask").hidden[row].numpy())
        assert (spectrum[:, lengths[row] * EACH :] == 255).all()


def test_bars_are_the_shares_of_the_right_candidate(drawn):
    model, batch, plans, draw = drawn
    frames, full = plans.layout().length, model.given(batch, plans)
    with preview_scene(model, batch, full) as scene:
        told = _told(model.objectives["contrast"], scene)
    hidden = plans.plan("mask").hidden
    assert torch.equal(told["rows"].bincount(minlength=2), hidden.sum(1))
    assert told["right"].any() and not told["right"].all()
    picture, heights = draw(model, batch, plans=plans), [40, 64, _ROW * 2, _BARS]
    for row in range(2):
        bars, mine = strip(picture, row, 3, frames, heights)[:, ::EACH], told["rows"] == row
        for place, right, share in zip(
            hidden[row].nonzero()[:, 0].tolist(), told["right"][mine], told["share"][mine], strict=True
        ):
            colour = _RIGHT if right else _WRONG
            high = (bars[:, place] == colour).all(-1).sum()
            assert high == max(1, round(float(share) * _BARS))
        codes = strip(picture, row, 2, frames, heights)[:, ::EACH]
        ids = told["ids"][mine]
        for group in range(2):
            shades = codes[group * _ROW, hidden[row].numpy()]
            same = (shades[:, None] == shades[None]).all(-1)
            assert np.array_equal(same, (ids[:, None, group] == ids[None, :, group]).numpy())


def test_the_model_is_left_as_it_was_and_other_objectives_are_refused(drawn):
    model, batch, plans, draw = drawn
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    draw(model, batch, plans=plans)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RecipeError, match=r"cannot draw objective 'penalty'.*'contrast'"):
        WaveformPreview(objective="penalty")(model, batch)
    with pytest.raises(RecipeError, match="at least 1"):
        WaveformPreview(wide=0)
