"""LXMERT as a recipe: what is exchanged and hidden, what is scored, and a course on the sample data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.api import Action, Batch, Keys, Layout, MaskPlan, Tokens, View
from mmask.testing import check_course, check_denominators, component, export_run, import_run, mmask
from mmask_vl.lxmert.answers import Answers
from mmask_vl.lxmert.replace import ReplaceRegions


def batch_of(count: int, **fields) -> Batch:
    rows = np.arange(count)
    return Batch(fields, rows.astype(np.uint64), rows * 0)


def test_the_recipe_trains_resumes_and_exports(tmp_path):
    check_denominators("lxmert-tiny")
    check_course("lxmert-tiny", tmp_path)


def test_half_of_the_texts_are_another_pictures_in_training_and_none_in_embeddings():
    tokenizer = component("tokenizer", "ids", pairs="other", group=4, apart="regions.picture")
    count = 400
    ids = torch.arange(count)[:, None] + 300
    batch = batch_of(count, text=ids, **{"regions.picture": torch.arange(count) // 2})
    got, follows = tokenizer(batch).ids[:, 0] - 300, tokenizer.follows(batch)
    assert torch.equal(follows == 1, got == torch.arange(count))
    assert 0.4 < float(follows.double().mean()) < 0.6
    wrong = follows == 0
    assert not bool((got[wrong] // 2 == torch.arange(count)[wrong] // 2).any())
    assert torch.equal(got // 4, torch.arange(count) // 4)
    assert torch.equal(tokenizer.plain()(batch).ids, ids)


def test_random_regions_come_from_another_picture_of_the_group():
    tokenizer = component("tokenizer", "regions", dim=2, code=4)
    count, regions = 6, 5
    features = torch.arange(count).view(-1, 1, 1).expand(count, regions, 2).float() + 1
    batch = batch_of(count, regions=features, **{"regions.box": torch.rand(count, regions, 4)})
    tokens = tokenizer(batch)
    hidden = torch.ones(count, regions, dtype=torch.bool)
    action = torch.full((count, regions), int(Action.RANDOM), dtype=torch.uint8)
    action[:, 0], action[:, 1] = int(Action.ZERO), int(Action.KEEP)
    plan = MaskPlan.of_hidden(Layout(count, regions), hidden, action=action)
    scene = SimpleNamespace(batch=batch, keys=Keys(0, batch.ids, batch.visits, 0))
    made = ReplaceRegions(tokenizers={"regions": tokenizer})(View("looks", {"regions": tokens}), "regions", plan, scene)
    got, boxes = tokenizer.split(made.values)
    assert torch.equal(boxes, tokenizer.split(tokens.values)[1])
    assert not got[:, 0].any() and torch.equal(got[:, 1], features[:, 1])
    other = torch.tensor([1, 0, 3, 2, 5, 4]).view(-1, 1, 1) + 1.0
    assert torch.equal(got[:, 2:], other.expand(count, 3, 2))


def test_answers_are_asked_of_matched_pairs_that_have_one():
    text = SimpleNamespace(follows=lambda batch: torch.tensor([1, 0, 1, 1]))
    target = Answers(classes=9, tokenizers={"text": text})
    plans = SimpleNamespace(batch=batch_of(4, answer=torch.tensor([3, 4, -1, 8])))
    assert target.known(plans).tolist() == [True, False, False, True]


def test_the_stream_of_objects_does_not_know_their_order(build):
    model = build("lxmert-tiny").double().eval()
    ids = torch.randint(5, 90, (2, 6))
    values = torch.randn(2, 7, 60, dtype=torch.float64)
    order = torch.randperm(7)

    def run(given):
        return model.encoder(View("v", {"text": Tokens(Layout(2, 6), ids=ids), "regions": Tokens(Layout(2, 7), given)}))

    one, other = run(values), run(values[:, order])
    torch.testing.assert_close(one.pooled, other.pooled)
    torch.testing.assert_close(one.stream("regions").state[:, order], other.stream("regions").state)


@pytest.mark.parametrize("whole", [False, True])
def test_exports_to_transformers_and_comes_back_unchanged(tmp_path, whole):
    pytest.importorskip("transformers")
    run, out = tmp_path / "run", tmp_path / "hf"
    words = ["train", "--recipe", "lxmert-tiny", "--steps", 1, "--batch-size", 4, "--workers", 0, "--device", "cpu"]
    assert mmask(*map(str, words), "schedule.warmup_steps=0", "train.trackers=[]", "--out", run) == 0
    made = export_run(run, "hf", out, whole=whole)
    assert {one.name for one in made.differences} >= ({"words", "matching"} if whole else {"language", "regions"})
    told = "\n".join(import_run(out, "hf", tmp_path / "back", recipe="lxmert-tiny"))
    assert ("as initialised" not in told) == whole


def test_the_preview_draws_how_words_look_at_regions_and_says_whose_text_it_is():
    from mmask.testing import batches, build, recipe
    from mmask_vl.dataset import emoji_regions

    made = recipe("lxmert-tiny", ["networks.encoder.language=1", "networks.encoder.cross=1"])
    decode = {name: component("decoder", spec.use, **spec.options()) for name, spec in made.data.decode.items()}
    batch = next(batches(emoji_regions()["val"][0], decode, batch_size=6, samples=6))
    draw = component("preview", made.preview.use, **made.preview.options())
    model = build(made).eval()
    scene = model.scene(batch)
    shares = draw._shares(model, scene, "encoder")
    words, looks = scene.view("clean").tokens["text"].layout, scene.view("clean").tokens["regions"].layout
    assert shares.shape == (6, looks.length, words.length)
    torch.testing.assert_close(shares.sum(1)[words.valid], torch.ones(int(words.valid.sum())))
    own = model.tokenizers["text"].follows(batch)
    for row in range(6):
        line, _ = draw._caption(model.tokenizers["text"], scene, model.objectives["words"], row, None)
        assert line.startswith("(another") == (own[row] == 0)
    with_guesses, alone = draw(model, batch), draw(model, batch, predict=False)
    assert with_guesses.dtype == np.uint8 and with_guesses.shape[1] > alone.shape[1]
