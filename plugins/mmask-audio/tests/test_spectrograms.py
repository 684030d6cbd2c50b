"""Laws of SSAST and TERA: plans by utterance, padding without effect, negatives from one utterance, altered and scored
apart, official checkpoints, sizes, pictures."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest
import torch

from mmask.api import Action, Batch, CheckpointError, Keys, Layout
from mmask_audio.alteration import AlterationMasker
from mmask_audio.preview import SpectrogramPreview
from mmask_audio.recipes.ssast import ssast, ssast_base_frame, ssast_base_patch, ssast_small_patch, ssast_tiny_patch
from mmask_audio.recipes.tera import mockingjay_base, tera, tera_base, tera_large, tera_medium
from mmask_audio.ssast_weights import SsastWeights, parts_of
from mmask_audio.tera_weights import TeraWeights
from mmask_audio.tera_weights import parts_of as tera_parts


def batch_of(lengths, frames, bins, ids=None, seed=0):
    """Noise, each utterance from its own id, 0 at padding."""
    ids = list(range(len(lengths))) if ids is None else ids
    values = torch.zeros(len(lengths), frames, bins)
    for row, (length, name) in enumerate(zip(lengths, ids, strict=True)):
        made = torch.randn(max(lengths), bins, generator=torch.Generator().manual_seed(100 + name + seed))
        values[row, :length] = made[:length]
    fields = {"features": values, "features.length": torch.tensor(lengths)}
    return Batch(fields, np.array(ids, dtype=np.uint64), np.zeros(len(ids), np.int64))


def small_tera(build, **options):
    recipe = tera("small", "", depth=2, width=16, heads=2, hidden=32, bins=20, **options)
    recipe.mask = recipe.mask.model_validate({"use": "alteration", **recipe.mask.options(), "magnitude": 1.0})
    return build(recipe).double().eval()


def small_ssast(build, padding="valid", patch=(8, 8)):
    recipe = ssast("small", "", width=24, depth=2, heads=3, patch=patch, bins=32, frames=64)
    for plan in ("discriminate", "generate"):
        recipe.mask[plan] = type(recipe.mask[plan])(use=recipe.mask[plan].use, ratio=0.7)
    recipe.tokenize["audio"] = type(recipe.tokenize["audio"])(
        use="spectrogram", patch=patch, bins=32, frames=64, padding=padding
    )
    return build(recipe).double().eval()


def doubled(batch):
    return batch.with_field("features", batch["features"].double())


def test_tera_depends_on_the_utterance_alone(build):
    """Alone and without padding, or beside longer ones: the same plan, noise, states and loss."""
    model = small_tera(build)
    alone, beside = doubled(batch_of([60], 60, 20, [7])), doubled(batch_of([90, 60], 90, 20, [3, 7]))
    one, two = model.draw(alone).plan("mask"), model.draw(beside).plan("mask")
    assert torch.equal(one.hidden[0], two.hidden[1, :60]) and not two.hidden[1, 60:].any()
    assert torch.equal(one.cells[0], two.cells[1, :60]) and not two.cells[1, 60:].any()
    seen, also = model.scene(alone).view("masked").only().values, model.scene(beside).view("masked").only().values
    assert torch.equal(seen[0], also[1, :60]) and not also[1, 60:].any()
    states = model.scene(alone).encode("encoder", "masked").state, model.scene(beside).encode("encoder", "masked").state
    assert torch.allclose(states[0][0], states[1][1, :60], atol=1e-12)
    rubbish = beside["features"].clone()
    rubbish[1, 60:] = 1e3
    assert torch.allclose(model(beside).total(), model(beside.with_field("features", rubbish)).total(), rtol=1e-12)


@pytest.mark.parametrize("patch", [(8, 8), (32, 2)], ids=["patch", "frame"])
def test_ssast_depends_on_the_utterance_alone(patch, build):
    model = small_ssast(build, patch=patch)
    alone, beside = doubled(batch_of([40], 64, 32, [7])), doubled(batch_of([64, 40], 64, 32, [3, 7]))
    for name in ("discriminate", "generate"):
        one, two = model.draw(alone).plan(name), model.draw(beside).plan(name)
        assert torch.equal(one.hidden[0], two.hidden[1])
        assert not (two.hidden & ~two.layout.maskable()).any()
    rubbish = beside["features"].clone()
    rubbish[1, 40:] = 1e3
    again = model(beside.with_field("features", rubbish))
    assert torch.allclose(model(beside).total(), again.total(), rtol=1e-12)
    tokens = small_ssast(build, "tokens", patch)
    assert not torch.allclose(tokens(beside).total(), tokens(beside.with_field("features", rubbish)).total())


def test_each_objective_has_a_plan_and_a_pass_of_its_own(build):
    model = small_ssast(build)
    plans = model.draw(batch_of([64, 64], 64, 32))
    first, second = plans.plan("discriminate").hidden, plans.plan("generate").hidden
    assert not torch.equal(first, second) and torch.equal(first.sum(1), second.sum(1))


def test_negatives_come_from_the_same_utterance(build):
    """The discriminative loss of a batch is the mean of its utterances' own."""
    model = small_ssast(build)
    both = doubled(batch_of([64, 64], 64, 32, [3, 7]))
    apart = [model(doubled(batch_of([64], 64, 32, [name])))["discriminate"] for name in (3, 7)]
    assert torch.allclose(model(both)["discriminate"], sum(apart) / 2, rtol=1e-12)


def test_perfect_predictions_are_told_apart_and_none_cost_ln_k(build):
    model = small_ssast(build)
    scene = model.scene(batch_of([64, 64], 64, 32))
    objective = model.objectives["discriminate"]
    objective(scene)
    prediction = scene.predictions["discriminate"]
    target = objective.target(scene, prediction.scored)
    trivial = objective.loss(objective.target.trivial(target), target)
    hidden = int(scene.plan("discriminate").hidden[0].sum())
    assert float(trivial.mean()) == pytest.approx(np.log(hidden), rel=1e-5)
    perfect = type(prediction)(50 * target.value, prediction.scored)
    assert float(objective.loss(perfect, target).mean()) < 1e-3
    share = objective.loss.metrics(perfect, target)["accuracy"]
    assert float(share.total) == float(share.count)


def test_altered_and_scored_are_two_things(build):
    """Cells that are not scored do not count, whatever was done to them; the truth stays as it was."""
    model = small_tera(build)
    batch = doubled(batch_of([80, 70], 80, 20))
    clean, scene = batch["features"].clone(), model.scene(batch)
    objective = model.objectives["reconstruction"]
    loss = objective(scene)["reconstruction"]
    prediction = scene.predictions["reconstruction"]
    weight = prediction.scored.weight.flatten(0, 1)
    target = objective.target(scene, prediction.scored)
    moved = type(prediction)(prediction.value + 5 * (weight == 0), prediction.scored)
    assert torch.allclose(objective.loss(moved, target).mean(), loss, rtol=1e-12)
    assert torch.equal(batch["features"], clean)
    seen = scene.view("masked").only().values
    assert (seen != clean)[0].all()  # noise reaches every frame, scored or not
    assert 0 < float(weight.mean()) < 0.6


def test_shares_of_alteration_are_the_papers():
    """13.8 % of 1,000 frames; 80, 10 and 10 % of utterances zeroed, copied, kept; bands of 0 to 16 of 80 bins."""
    count = 2000
    keys = Keys(3, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))
    plan = AlterationMasker().plan(Layout(count, 1000, channels=80), keys)
    assert float(plan.hidden.float().mean()) == pytest.approx(0.138, abs=0.005)
    first = plan.hidden.int().argmax(1, keepdim=True)
    action = plan.action.gather(1, first)[:, 0]
    for which, share in ((Action.ZERO, 0.8), (Action.COPY, 0.1), (Action.KEEP, 0.1)):
        assert float((action == which).float().mean()) == pytest.approx(share, abs=0.03)
    widths = plan.extra["band"].sum(1)
    assert (int(widths.min()), int(widths.max())) == (0, 16)
    assert float(plan.extra["noise"].float().mean()) == pytest.approx(0.15, abs=0.03)
    together = AlterationMasker(per="batch").plan(Layout(count, 50, channels=80), keys).extra["noise"]
    assert together.all() or not together.any()


def test_noise_alone_scores_every_frame_that_is_not_padding():
    valid = torch.arange(50)[None] < torch.tensor([50, 30])[:, None]
    keys = Keys(3, np.arange(2, dtype=np.uint64), np.zeros(2, np.int64))
    plan = AlterationMasker(time=0.0, frequency=0.0).plan(Layout(2, 50, valid=valid, channels=8), keys)
    assert torch.equal(plan.cells, valid[..., None].expand(-1, -1, 8)) and not plan.hidden.any()


def test_an_official_ssast_checkpoint_is_read(build, tmp_path):
    """``module.`` in front, sizes and unused classifiers beside; shorter clips keep their bands' positions."""
    model = small_ssast(build).float()
    parts = {name: module.state_dict() for name, module in parts_of(model).items()}
    official = SsastWeights.official(parts)
    extra = {"p_input_fdim": torch.tensor(32), "p_input_tdim": torch.tensor(64), "v.head.weight": torch.zeros(3, 24),
             "v.head_dist.bias": torch.zeros(3)}
    torch.save({f"module.{name}": value for name, value in {**official, **extra}.items()}, tmp_path / "ssast.pth")
    torch.manual_seed(9)
    other = small_ssast(build).float()
    for value in other.parameters():
        value.data.zero_()
    assert not list(SsastWeights().load(other, SsastWeights().read(tmp_path / "ssast.pth")))
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    longer = build(ssast("longer", "", width=24, depth=2, heads=3, patch=(8, 8), bins=32, frames=96))
    lines = list(SsastWeights().load(longer, SsastWeights().read(tmp_path / "ssast.pth")))
    assert lines == ["resized: encoder pos_embed from 34 to 50 rows"]
    with pytest.raises(CheckpointError, match="none of the 1 tensors"):
        list(SsastWeights().load(other, {"x": torch.zeros(1)}))


def test_an_s3prl_checkpoint_is_read_and_nothing_else_is_unpickled(build, tmp_path):
    model = small_tera(build).float()
    official = TeraWeights.official({name: module.state_dict() for name, module in tera_parts(model).items()})
    inner = {part: {name.removeprefix(f"{part}."): value for name, value in official.items()
                    if name.startswith(f"{part}.")} for part in ("Transformer", "SpecHead")}
    states = {**inner, "Config": {"transformer": {"hidden_size": 16}}, "Args": Namespace(seed=1), "Runner": {"step": 2},
              "Optimizer": {"state": {}, "param_groups": []}, "Global_step": 7}
    torch.save(states, tmp_path / "states-7.ckpt")
    torch.manual_seed(9)
    other = small_tera(build).float()
    for value in other.parameters():
        value.data.zero_()
    assert not list(TeraWeights().load(other, TeraWeights().read(tmp_path / "states-7.ckpt")))
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    torch.save({**states, "Args": SpectrogramPreview()}, tmp_path / "code.ckpt")
    with pytest.raises(CheckpointError, match="cannot be read as tensors alone"):
        TeraWeights().read(tmp_path / "code.ckpt")


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("recipe", "width"), [
    (ssast_tiny_patch, 192), (ssast_small_patch, 384), (ssast_base_patch, 768), (ssast_base_frame, 768)])
def test_sizes_of_ssast(recipe, width, build):
    with torch.device("meta"):
        model = build(recipe())
    block = 12 * width * width + 13 * width
    ahead = 256 * width + width + (512 + 2) * width + 3 * width
    assert count(model.encoder) == 12 * block + ahead + 2 * width
    head = width * width + width + width * 256 + 256
    assert count(model) == count(model.encoder) + 2 * head


@pytest.mark.parametrize(
    ("recipe", "depth"), [(tera_base, 3), (mockingjay_base, 3), (tera_medium, 6), (tera_large, 12)]
)
def test_sizes_of_tera(recipe, depth, build):
    with torch.device("meta"):
        model = build(recipe())
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    assert count(model.encoder) == depth * layer + 80 * 768 + 768 + 2 * 768
    assert count(model) == count(model.encoder) + 768 * 768 + 768 + 2 * 768 + 768 * 80 + 80


@pytest.mark.parametrize("method", ["ssast", "tera"])
def test_the_picture_shows_padding_hidden_places_and_predictions(method, build):
    model = small_ssast(build).float() if method == "ssast" else small_tera(build).float()
    bins = 32 if method == "ssast" else 20
    batch = batch_of([64, 24], 64, bins)
    objective = "generate" if method == "ssast" else "reconstruction"
    draw = SpectrogramPreview(samples=2, across=2, objective=objective, wide=64)
    whole, plan = draw(model, batch), draw(model, batch, predict=False)
    assert whole.dtype == np.uint8 and whole.shape[2] == 3 and whole.shape[0] > plan.shape[0]
    assert plan.shape[1] == whole.shape[1] == 2 * (64 + 8) + 8
    top = 8 + 14
    padding = whole[top : top + 64, 8 + 72 + 24 : 8 + 72 + 64]
    assert (padding == 255).all()
    grey = float((whole == 150).all(-1).mean())
    assert (grey > 0.05) if method == "ssast" else (grey < 0.01)  # letters have some too
    model.objectives[objective].head.requires_grad_(False)
    for value in model.objectives[objective].head.parameters():
        value.add_(3.0)
    assert not np.array_equal(draw(model, batch), whole)
    assert np.array_equal(draw(model, batch, predict=False), plan)


def test_pooling_leaves_padding_out_or_takes_the_tokens_in_front(build):
    model = small_ssast(build)
    scene = model.scene(doubled(batch_of([64, 24], 64, 32)))
    encoded = scene.encode("encoder", "clean")
    real = encoded.layout.maskable()[1]
    assert torch.allclose(encoded.pooled[1], encoded.places[1][real].mean(0), atol=1e-12)
    model.encoder.pooling = "cls"
    front = model.encoder(scene.view("clean"))
    assert torch.allclose(front.pooled, front.state[:, :2].mean(1), atol=1e-12)
