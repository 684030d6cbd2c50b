"""VIOLET's plans, black cells and matching, on the recipe itself with random clips."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mmask.api import Batch, Keys, Layout, Prediction, RecipeError, Scored
from mmask.testing import MaskerLaws, batches, build, component, mmask, recipe
from mmask_video.attended import BlocksOrAttended
from mmask_video.dataset import moving_emoji

SMALL = ["networks.encoder.depth=1", "networks.encoder.swin.depths=[1,1,1]"]  # evaluation mode: no dropout


@pytest.fixture(scope="module")
def model():
    return build("violet-tiny", overrides=SMALL).eval()


def clips(count: int, frames: int = 4) -> Batch:
    make = torch.Generator().manual_seed(3)
    ids = torch.randint(10, 100, (count, 16), generator=make)
    return Batch(
        {
            "video": torch.randint(0, 256, (count, 3, frames, 64, 64), generator=make, dtype=torch.uint8),
            "second": torch.randint(0, 256, (count, 3, frames, 16, 16), generator=make, dtype=torch.uint8),
            "text": ids, "text.length": torch.full((count,), 12),
        },
        np.arange(count, dtype=np.uint64), np.zeros(count, np.int64),
    )


class TestCuboids(MaskerLaws):
    def make(self):
        return component("masker", "cuboids")

    def layout(self, *, padded: bool = False):
        return None if padded else Layout(self.samples, 64, grid=(4, 4, 4))


@pytest.mark.parametrize(("frames", "share"), [(4, 0.150), (1, 0.081)])
def test_cuboids_hide_the_share_of_the_reference(frames, share):
    count = 4000
    keys = Keys(0, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))
    plan = component("masker", "cuboids").plan(Layout(count, frames * 49, grid=(frames, 7, 7)), keys)
    assert abs(float(plan.hidden.float().mean()) - share) < 0.004


def attended(weight, valid=None, **options):
    count, length = weight.shape
    keys = Keys(0, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))
    scores = {"votes": weight, "blocks": torch.zeros(count, 12, dtype=torch.bool)}
    return BlocksOrAttended(attended=1.0, **options).plan(Layout(count, length, valid=valid), keys, scores).hidden


def test_an_attended_plan_spends_one_budget_over_both_streams():
    hidden = attended(torch.ones(300, 20), ratio=0.25)
    assert set(hidden.sum(1).tolist()) == {5}
    assert len(set(hidden[:, :12].sum(1).tolist())) > 2  # the streams share it by chance


def test_places_without_attention_are_never_taken_and_padding_does_not_count():
    weight = torch.ones(300, 20)
    weight[:, :10], weight[:, 10:15] = 0.0, 3.0
    share = attended(weight, ratio=0.15).float().mean(0)
    assert not share[:10].any() and share[10:15].mean() > 2 * share[15:].mean()
    weight = torch.zeros(300, 20)
    weight[:, 0] = 1.0
    assert set(attended(weight, ratio=0.15).sum(1).tolist()) == {1}  # of a budget of three
    valid = (torch.arange(20) < 14).expand(300, -1)
    assert set(attended(torch.ones(300, 20), valid, ratio=0.15).sum(1).tolist()) == {2}
    assert not attended(torch.ones(300, 20), valid, ratio=0.15)[:, 14:].any()


def test_shares_outside_their_range_are_refused():
    with pytest.raises(RecipeError, match=r"mask\.ratio is 1\.5"):
        BlocksOrAttended(ratio=1.5)


def test_what_lies_under_black_cells_changes_nothing_downstream(model):
    batch = clips(4)
    plans = model.draw(batch)
    hidden = plans.plan("mask", "video").on_grid((1, 16, 16))[:, None]
    assert hidden.any()
    other = batch.with_field("video", torch.where(hidden, 255 - batch["video"], batch["video"]))
    with torch.no_grad():
        one, two = (
            model.scene(b, replace(plans, batch=b)).encode("encoder", "masked", taps=("fused",)).taps["fused"]
            for b in (batch, other)
        )
    assert torch.equal(one, two)


def test_micro_batches_of_whole_groups_give_the_gradient_of_the_whole_batch():
    batch = clips(6)  # one group of four, and one of two
    grads = []
    for cuts in ([(0, 6)], [(0, 4), (4, 6)]):
        model = build("violet-tiny", overrides=SMALL).eval()
        plans = model.draw(batch)
        for start, stop in cuts:
            part = plans.rows(start, stop)
            model(part.batch, part).total(model.denominators(plans)).backward()
        grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys() and any("matching" in name for name in grads[0])
    # Some gradients are sums that cancel to nothing (the bias under a softmax over the group): rounding is all that is
    # left of them, so it is measured against the largest gradient of the model as well.
    largest = max(float(grad.abs().max()) for grad in grads[0].values())
    for name, grad in grads[0].items():
        atol = 1e-4 * float(grad.abs().max()) + 1e-5 * largest
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-3, atol=atol)


def test_a_smaller_last_group_stays_among_itself(model):
    others = model.objectives["matching"].others(6)
    assert others.shape == (6, 3)
    assert others[4].tolist() == [5, -1, -1] and others[5].tolist() == [4, -1, -1]
    assert sorted([0, *others[0].tolist()]) == [0, 1, 2, 3]
    assert model.objectives["matching"].others(1).shape == (1, 0)


def test_codes_lie_on_the_cells_of_every_frame(model):
    batch = clips(2)
    scene = model.scene(batch)
    objective = model.objectives["cells"]
    scored = objective.scored(scene)
    got = objective.target(scene, scored).value
    ids = torch.stack([model.network("tokenizer").ids(batch["second"][:, :, t]) for t in range(4)], 1)
    assert ids.shape == (2, 4, 4, 4)
    assert torch.equal(got, scored.take(ids.flatten(1)))


def test_pictures_stand_still_and_move(model):
    preview = component("preview", "clip-and-words", samples=2, tile=64)
    still = preview(model, clips(4))
    film = preview.animate(model, clips(4), plans=model.draw(clips(4)))
    assert still.dtype == film.dtype == np.uint8 and still.ndim == 3
    assert film.shape == (4, 2 * 64, 4 * 64, 3)  # original, hidden, reconstructed, codes
    assert np.abs(film[:, :64, :64].astype(int) - clips(4)["video"][0].permute(1, 2, 3, 0).numpy()).max() <= 1


def test_a_caption_that_says_the_same_is_no_wrong_one(model):
    batch, matching = clips(4), model.objectives["matching"]
    text = batch["text"].clone()
    text[2] = text[0]
    twin = batch.with_field("text", text)
    if "text.length" in batch.fields:
        length = batch["text.length"].clone()
        length[2] = length[0]
        twin = twin.with_field("text.length", length)
    wrong = matching.wrong(model.scene(twin))
    assert wrong[0].tolist() == [1, -1, 3] and wrong[2].tolist() == [3, -1, 1]
    assert torch.equal(wrong[1], matching.others(4)[1])
    said = matching.scores(model.scene(twin), wrong)
    assert said[0, 2] == -torch.inf and said[0, [0, 1, 3]].isfinite().all()


def test_guessed_codes_look_as_the_cells_that_have_them(model):
    from mmask_video.cells import appearances, cut, joined, reconstructed

    batch = clips(4)
    plan, whole = model.draw(batch).plan("mask", "video"), model.scene(batch, {})
    seen, objective = batch["video"].float() / 255, model.objectives["cells"]
    assert torch.equal(joined(cut(seen, plan.layout), plan.layout), seen)
    codes, looks = appearances(seen, whole, objective)
    truth = objective.target(whole, Scored.valid(plan.layout)).value
    assert torch.equal(codes, truth.unique())
    torch.testing.assert_close(looks[0], cut(seen, plan.layout)[truth == codes[0]].mean(0))

    class Right:  # guesses what is there
        stream, target = "video", objective.target

        def predict(self, scene):
            scored = Scored.hidden(plan)
            logits = torch.nn.functional.one_hot(scored.take(truth.view(4, -1)), objective.target.dim).float()
            return Prediction(logits, scored)

    made = reconstructed(seen, plan, Right(), None, whole, seen)
    cells, hidden = cut(made, plan.layout), plan.hidden.flatten()
    assert torch.equal(cells[~hidden], cut(seen, plan.layout)[~hidden])
    torch.testing.assert_close(cells[hidden], looks[torch.searchsorted(codes, truth[hidden])])


@pytest.mark.parametrize("gone", ["cells", "words"])
def test_a_task_can_be_switched_off_and_the_pictures_go_on(gone):
    without = build("violet-tiny", overrides=[*SMALL, f"objectives.{gone}=none"]).eval()
    assert set(without.objectives) == {"cells", "words", "matching"} - {gone}
    still = component("preview", "clip-and-words", samples=2, tile=64)(without, clips(4))
    assert still.ndim == 3 and still.dtype == np.uint8


def test_a_plan_of_shapes_alone_is_shown(capsys):
    assert mmask("plan", "--recipe", "violet-tiny") == 0
    said = capsys.readouterr().out
    assert "activations" in said and "failed" not in said


def stills(path):
    """Twenty captioned pictures."""
    with tarfile.open(path, "w") as tar:
        for number in range(20):
            to = io.BytesIO()
            Image.new("RGB", (48, 32), (12 * number, 99, 0)).save(to, "png")
            parts = {"png": to.getvalue(), "json": json.dumps({"caption": f"shade {number}"}).encode()}
            for part, data in parts.items():
                member = tarfile.TarInfo(f"{number:03d}.{part}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return str(path)


def test_clips_and_captioned_pictures_are_mixed_in_one_run(tmp_path):
    urls = [str(moving_emoji()["train"][0]), stills(tmp_path / "stills.tar")]
    seen = ['data.decode.video.stills=["png"]', "data.decode.video.size=64"]
    decode = {
        name: component("decoder", spec.use, **spec.options())
        for name, spec in recipe("violet-tiny", seen).data.decode.items()
    }
    batch = next(iter(batches(urls, decode, batch_size=32, samples=32, group=4)))
    moving = (batch["video"].diff(dim=2) != 0).flatten(1).any(1)
    assert 13 <= int(moving.sum()) <= 19 and len(batch["text"]) == 32
    done = mmask(
        "train", "--recipe", "violet-tiny", "--data", urls[0], "--data", urls[1], "--val", moving_emoji()["val"][0],
        "--out", tmp_path / "run", "--steps", 3, "--batch-size", 8, "--workers", 0, "--device", "cpu",
        "train.val_samples=4", "data.streams=4", *SMALL, *seen,
    )
    assert done == 0 and not (tmp_path / "run/ledger.jsonl").exists()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows and all(np.isfinite(row[name]) for row in rows for name in ("words", "cells", "matching"))


def test_a_clip_and_a_caption_scored_from_their_halves_are_the_pair_scored_whole():
    wide = build("violet-tiny", overrides=SMALL).double().eval()
    batch, objective, network = clips(3), wide.objectives["matching"], wide.network("encoder")
    batch = replace(batch, fields={**batch.fields, "text.length": torch.tensor([12, 7, 16])})
    scene = wide.scene(batch, {})
    assert objective.sides == ("text", "video")
    halves = [objective.side(scene, stream) for stream in objective.sides]
    whole = scene.encode("encoder", "clean")
    torch.testing.assert_close(network.join(*halves).pooled, whole.pooled)
    scores = objective.pair_scores(wide, *halves)
    assert scores.shape == (3, 3)
    torch.testing.assert_close(scores.diagonal(), objective.own(whole))
    turned = scene.view("clean").tokens["text"].samples(torch.tensor([1, 2, 0]))
    other = network(replace(scene.view("clean"), tokens={**scene.view("clean").tokens, "text": turned}))
    torch.testing.assert_close(scores[[1, 2, 0], [0, 1, 2]], objective.own(other))


def test_who_has_learnt_nothing_finds_all_captions_of_a_group_alike(model):
    objective, scene = model.objectives["matching"], model.scene(clips(6), {})
    told = objective.trivial(scene).terms["matching"]
    assert told.count == 6
    np.testing.assert_allclose(float(told.total), 4 * np.log(4) + 2 * np.log(2), rtol=1e-6)
