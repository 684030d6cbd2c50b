"""The picture of a reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.api import RecipeError, use
from mmask_image.code_preview import CodePreview
from mmask_image.preview import MaePreview
from mmask_image.recipes.mae import mae


def small(channels, normalise=True):
    recipe = mae("small", "", width=24, depth=1, heads=3, patch=8, image_size=(16, 32), decoder=(16, 1, 2))
    recipe.tokenize["image"] = use("patch", size=8, image_size=(16, 32), in_chans=channels)
    recipe.objectives["pixels"].target = use("values", normalise=normalise)
    return recipe


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_originals_hidden_patches_and_reconstructions_stand_side_by_side(channels, build, pictures):
    model, batch = build(small(channels)), pictures(3, channels, 16, 32, torch.uint8)
    sheet = MaePreview(samples=2, tile=16, across=1)(model, batch)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (16 + 2 * 20 + 16, 3 * 36 + 4, 3)
    original, hidden, made = (sheet[16:32, 4 + 36 * i : 36 + 36 * i] for i in range(3))
    if channels == 3:
        assert np.abs(original.astype(int) - batch["image"][0].permute(1, 2, 0).numpy()).max() <= 1
    gone = model.draw(batch).plan("mask").on_grid((8, 8))[0].numpy()
    assert (hidden[gone][:, : 2 if channels == 2 else 3] == 128).all()
    assert np.array_equal(hidden[~gone], original[~gone])
    assert np.array_equal(made[~gone], original[~gone])
    assert not np.array_equal(made[gone], original[gone])


@pytest.mark.parametrize("normalise", [True, False])
def test_a_perfect_prediction_restores_the_picture(normalise, build, pictures, monkeypatch):
    model, batch = build(small(3, normalise)), pictures(2, 3, 16, 32, torch.uint8)
    objective = model.objectives["pixels"]

    def perfect(scene):
        from mmask.api import Prediction

        scored = objective.scored(scene)
        return Prediction(objective.target(scene, scored).value, scored)

    monkeypatch.setattr(objective, "predict", perfect)
    sheet = MaePreview(tile=16, across=1)(model, batch).astype(int)
    assert np.abs(sheet[16:32, 76:108] - sheet[16:32, 4:36]).max() <= 1


@pytest.mark.parametrize("preview", [MaePreview, CodePreview])
def test_a_tokenizer_that_draws_nothing_is_refused(preview, build, pictures):
    model, batch = build(small(3)), pictures(2, 3, 16, 32, torch.uint8)
    whole = model.tokenizers["image"]

    class Blind:
        layout, __call__ = staticmethod(whole.layout), staticmethod(whole.__call__)

    model.tokenizers["image"] = Blind()
    with pytest.raises(RecipeError, match="stream 'image'"):
        preview()(model, batch)


def test_a_plan_is_drawn_without_running_the_model(build, pictures, monkeypatch):
    model, batch = build(small(3)).train(), pictures(2, 3, 16, 32, torch.uint8)
    monkeypatch.setattr(type(model.encoder), "forward", None)
    sheet = MaePreview(tile=32, across=1)(model, batch, predict=False)
    assert sheet.shape[1] == 2 * (64 + 4) + 4
    assert model.training


def test_samples_fill_lines_before_they_open_new_ones(build, pictures):
    model, batch = build(small(3)), pictures(3, 3, 16, 32, torch.uint8)
    one, two = (MaePreview(tile=16, across=across)(model, batch) for across in (1, 2))
    assert (one.shape[0], two.shape[0]) == (16 + 3 * 20 + 16, 16 + 2 * 20 + 16)
    block = 3 * 36 + 24
    assert np.array_equal(two[16:32, block : block + 112], one[36:52])  # the second sample, beside the first
