"""UNITER as a recipe: one task a step, one modality hidden, and a network that padding does not touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask import testing
from mmask.api import Batch, CheckpointError, Sample, SampleId
from mmask.testing import check_denominators
from mmask_vl.preview import warmth
from mmask_vl.uniter_weights import UniterWeights, parts_of

SMALL = ["networks.encoder.width=16", "networks.encoder.depth=2", "networks.encoder.heads=2"]


def model_of(name="uniter-tiny", *more):
    return testing.build(name, overrides=[*SMALL, *more])


def pairs(count=8, seed=0) -> Batch:
    torch.manual_seed(seed)
    words = torch.randint(10, 400, (count, 9))
    words[:, 0], length = 2, torch.arange(count) % 5 + 5
    fields = {
        "text": words.masked_fill(torch.arange(9)[None] >= length[:, None], 0), "text.length": length,
        "regions": torch.randn(count, 7, 56), "regions.box": torch.rand(count, 7, 4),
        "regions.length": torch.arange(count) % 6 + 2, "regions.class": torch.rand(count, 7, 12).softmax(-1),
    }
    return Batch(fields, np.arange(count, dtype=np.uint64) + 100 * seed, np.zeros(count, np.int64))


def test_the_base_model_has_the_papers_size():
    with torch.device("meta"):
        encoder = testing.build("uniter-base").encoder
    count = sum(p.numel() for p in encoder.parameters()) - encoder.embed.words.weight.numel()
    # 12 layers of BERT-base, 512 positions, 2 types, a pooler, and what regions need
    regions = 2048 * 768 + 7 * 768 + 2 * 768 + 3 * 2 * 768 + 2048
    assert count == 12 * 7_087_872 + 514 * 768 + 2 * 768 + 768 * 769 + regions


def test_tasks_are_drawn_two_two_one_one():
    model = model_of()
    drawn = [model.active(step) for step in range(3000)]
    for task, share in {"itm": 2, "mlm": 2, "mrfr": 1, "mrc": 1}.items():
        assert drawn.count((task,)) / 3000 == pytest.approx(share / 6, abs=0.03)


def test_each_task_hides_one_modality_and_the_joint_recipe_both():
    batch = pairs()
    for name, joint in (("uniter-tiny", False), ("uniter-tiny-joint", True)):
        scene = model_of(name).scene(batch)
        clean, words, hidden = (scene.view(view).tokens for view in ("clean", "words", "hidden"))
        assert not torch.equal(words["text"].ids, clean["text"].ids)
        assert torch.equal(words["regions"].values, clean["regions"].values) != joint
        assert not torch.equal(hidden["regions"].values, clean["regions"].values)
        assert torch.equal(hidden["text"].ids, clean["text"].ids) != joint


def test_every_task_has_its_denominators_and_gradients_of_its_own():
    model, batch = model_of(), pairs()
    check_denominators("uniter-tiny", SMALL)
    losses = model.eval()(batch)
    assert set(losses) == {"mlm", "mrfr", "mrc", "itm", "itm_alignment"}
    losses.total().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.encoder.embed_regions.hidden.grad.abs().sum() > 0


def test_the_objective_and_the_view_agree_on_who_was_swapped():
    model, batch = model_of(), pairs(64)
    scene = model.scene(batch)
    matched = model.objectives["itm"].matched(scene)
    clean, paired = (scene.view(view).tokens["regions"] for view in ("clean", "paired"))
    assert 0 < matched.sum() < len(matched)
    for row, own in enumerate(matched.tolist()):
        assert torch.equal(paired.values[row], clean.values[row]) == bool(own)
    assert torch.equal(scene.view("paired").tokens["text"].ids, batch["text"])
    assert model.group == 4 and model.objectives["itm"].coupling == "group"


def test_padding_changes_nothing_and_the_packed_road_agrees_with_the_plain_one():
    model, batch = model_of().double().eval(), pairs()
    for name in ("regions", "regions.box"):
        batch = batch.with_field(name, batch[name].double())
    encoder = model.encoder
    fast = encoder(model.scene(batch).view("clean"))
    encoder.fast = False
    plain = encoder(model.scene(batch).view("clean"))
    torch.testing.assert_close(fast.pooled, plain.pooled, rtol=0, atol=1e-12)
    there = torch.arange(7)[None] < batch["regions.length"][:, None]
    dirty = batch.with_field("regions", torch.where(there[..., None], batch["regions"], 7.0))
    encoder.fast = True
    again = encoder(model.scene(dirty).view("clean"))
    assert torch.equal(again.pooled, fast.pooled)
    states = [one.stream("regions").places[there] for one in (again, fast)]
    assert torch.equal(*states)


def test_a_hidden_feature_reaches_nothing():
    model, batch = model_of().eval(), pairs()
    plans = model.draw(batch)
    hidden = plans.plan("regions").hidden
    changed = batch.with_field("regions", torch.where(hidden[..., None], torch.nan, batch["regions"]))
    states = [model.scene(b, {"regions": plans.plan("regions")}).encode("encoder", "hidden").pooled
              for b in (batch, changed)]
    assert torch.equal(*states)


def test_a_state_dict_with_official_names_comes_back_whole(tmp_path):
    first, second = model_of(), model_of("uniter-tiny", "networks.encoder.std=0.5")
    official = UniterWeights.official(
        {part: {n: p.data for n, p in module.named_parameters()} for part, module in parts_of(first).items()}
    )
    assert "uniter.img_embeddings.mask_embedding.weight" in official and "feat_regress.weight" in official
    torch.save({f"module.{name}": value for name, value in official.items()}, tmp_path / "uniter.pt")
    form = UniterWeights()
    lines = list(form.load(second, form.read(tmp_path / "uniter.pt")))
    assert not lines
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name
    encoder = model_of().encoder
    assert not [line for line in form.load(encoder, official) if "missing" in line]
    with pytest.raises(CheckpointError, match="UNITER"):
        list(form.load(second, {"bert.something": torch.zeros(2)}))


def test_the_preview_draws_plans_alone_and_alignment():
    model, batch = model_of(), pairs()
    preview = testing.component("preview", "words-and-regions", samples=3, words=4, tile=32)
    plan, whole = preview(model, batch, predict=False), preview(model, batch)
    assert plan.dtype == whole.dtype == np.uint8
    assert plan.shape[2] == 3 and whole.shape[0] == plan.shape[0] and whole.std() > 0
    assert model.training


def test_regions_are_warm_beyond_an_even_share():
    even, sharp = np.full((1, 4), 0.2), np.array([[0.0, 0.0, 0.0, 1.0]])
    assert not warmth(even).any()
    assert warmth(sharp).tolist() == [[0, 0, 0, 1]]
    both = warmth(np.concatenate([even, sharp, [[0.1, 0.1, 0.1, 0.15]]]))
    assert not both[0].any() and both[1, 3] == 1 and 0 < both[2, 3] < 0.2


def test_the_preview_writes_whole_words_and_no_column_for_marks():
    decode = testing.component("decoder", "text", vocabulary="english-8k", field="caption", max_length=16)
    sample = Sample(SampleId("s", "t", "k"), {"json": b'{"caption": "cigni bianchi, bird"}'})
    made = decode(sample, None)
    model, batch = model_of(), pairs()
    ids, words = (torch.as_tensor(np.asarray(made[name]))[None] for name in ("text", "text.word"))
    length = torch.tensor([ids.shape[1]])
    batch = batch.rows(0, 1)
    for name, value in (("text", ids), ("text.word", words), ("text.length", length)):
        batch = batch.with_field(name, value)
    preview = testing.component("preview", "words-and-regions", samples=1, words=4, tile=32)
    scene = model.scene(batch, model.draw(batch))
    line, shown = preview._caption(model.tokenizers["text"], scene, model.objectives["mlm"], 0, None)
    assert line.replace("[", "").replace("]", "") == "cigni bianchi, bird"
    assert [word for _, word in shown] == ["cigni", "bianchi", "bird"]
    assert all(len(places) > 1 for places, _ in shown[:2])
    assert preview(model, batch).shape == preview(model, batch, predict=True).shape
