"""The discrete tokenizer that is trained here, and its codebook."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mmask.api import Batch, CheckpointError, PlanError, Recipe, RecipeError, View, use
from mmask_image.codebook import Codebook
from mmask_image.recipes.vq import vq
from mmask_image.vq import VqTokenizer
from mmask_image.vq_weights import read_vq


def small() -> Recipe:
    return vq("small", "", codes=16, dim=4, width=16, depth=1, stride=4, image_size=16)


def coloured(batch: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 2, (batch, 3, 4, 4), generator=generator) * 255
    image = colours.repeat_interleave(4, 2).repeat_interleave(4, 3).to(torch.uint8)
    return Batch({"image": image}, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def latents(count: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


def book(codes: int = 8, **more: float) -> Codebook:
    torch.manual_seed(0)
    return Codebook(codes, 4, **more).train()


def test_the_nearest_code_is_the_one_with_the_smallest_distance():
    made, given = book(), latents(50)
    assert torch.equal(made.nearest(given), torch.cdist(given, made.codes).argmin(1))


def test_each_update_puts_a_few_dead_codes_on_latents_of_their_own():
    made, given = book(64, decay=0.5), latents(20)
    made(given)
    fair = 20 / 64
    back = (made.use == fair).nonzero().squeeze(1)
    assert len(back) == 2  # a 32nd part of 64
    assert torch.cdist(made.codes[back], given).amin(1).max() < 1e-3
    assert len(torch.cdist(made.codes[back], given).argmin(1).unique()) == 2
    fair = 500 / 64
    made.use.fill_(fair)
    made.use[[3, 50]] = torch.tensor([0.001, 0.002])
    made.codes[[3, 50, 7]] = -given[:1]  # nearest to nothing much
    made.use[7] = 0.0
    made(given[10:11].expand(500, 4))
    assert (made.use == fair).nonzero().squeeze(1).tolist() == [3, 7]  # the least used first


def test_codes_keep_unit_length_and_follow_their_latents():
    made, given = book(decay=0.5), latents(64)
    before = None
    for _ in range(30):
        made(given)
        cosine = (given @ made.codes.T).amax(1).mean()
        assert torch.allclose(made.codes.norm(dim=1), torch.ones(8), atol=1e-5)
        before = cosine if before is None else before
    assert cosine > before


def test_codes_that_nothing_uses_come_back_to_life():
    made = book(decay=0.5, dead=0.1)
    one = latents(1).expand(32, 4)
    for _ in range(20):  # all latents alike: one code is enough, the others die and are put there
        made(one)
    assert (made.codes @ one[0]).min() > 0.999
    two = latents(64, seed=3)
    for _ in range(20):
        _, ids = made(two)
    assert len(ids.unique()) == 8


def test_a_plain_background_does_not_take_the_codes_of_what_is_rare():
    """Nine in ten latents are one direction and noise; the rest are sixteen others, and 24 codes find them all.
    Codes revived on latents drawn evenly would nearly all lie on the background."""
    torch.manual_seed(0)
    made = Codebook(24, 8, decay=0.9).train()
    centres = F.normalize(torch.randn(17, 8), dim=1)
    for _ in range(60):
        kind = torch.where(torch.rand(1000) < 0.9, 0, torch.randint(1, 17, (1000,)))
        given = F.normalize(centres[kind] + 0.02 * torch.randn(1000, 8), dim=1)
        made(given)
    ids = made.eval()(given)[1]
    assert len(ids[kind == 0].unique()) <= 8  # the surplus
    assert len(ids[kind > 0].unique()) >= 15


def test_updates_are_a_function_of_state_and_data_alone():
    one, two = book(), book()
    for seed in range(3):
        torch.manual_seed(100 + seed)  # the global generator plays no part
        one(latents(40, seed=seed))
    for seed in range(2):
        two(latents(40, seed=seed))
    resumed = Codebook(8, 4).train()
    resumed.load_state_dict(two.state_dict())
    resumed(latents(40, seed=2))
    for a, b in zip(one.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_nothing_is_updated_in_evaluation_or_without_gradients():
    made = book()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.eval()(latents(20))
    with torch.no_grad():
        made.train()(latents(20))
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


def test_gradients_pass_straight_through_to_the_latents(build):
    model, batch = build(small()), coloured(2)
    network = model.network("tokenizer")
    encoded = network(model.scene(batch).view("clean"), taps=("latent",))
    latent = encoded.taps["latent"]
    assert torch.allclose(encoded.state, encoded.taps["code"], atol=1e-6)
    grad = torch.autograd.grad((encoded.state * 3).sum(), latent)[0]
    assert torch.equal(grad, torch.full_like(grad, 3.0))


def test_a_tokenizer_learns_and_its_ids_tell_colours_apart(build):
    model, batch = build(small()).train(), coloured(16)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 5e-3)
    first = None
    for _ in range(80):
        optimizer.zero_grad()
        losses = model(batch)
        losses.total().backward()
        optimizer.step()
        first = losses["pixels"].item() if first is None else first
    trivial = (batch["image"] / 255.0).var().item()
    assert losses["pixels"].item() < 0.5 * trivial < first
    assert losses.metrics["codes_used"] > 0.3
    model.eval()
    ids = model.network("tokenizer").ids(batch["image"])
    assert ids.shape == (16, 4, 4)
    assert len(ids.unique()) > 4


def test_losses_are_means_over_every_place(build):
    model, batch = build(small()), coloured(3)
    plans = model.draw(batch)
    losses = model.eval()(batch, plans)
    assert model.denominators(plans) == {"pixels": 48.0, "commitment": 48.0}
    assert {name: term.count for name, term in losses.terms.items()} == {"pixels": 48.0, "commitment": 48.0}
    taps = model.scene(batch, plans).encode("tokenizer", "clean", taps=("latent", "code")).taps
    want = (taps["latent"] - taps["code"]).square().mean()
    assert torch.allclose(losses["commitment"], want)
    assert losses.terms["commitment"].weight == 0.25


def test_reconstructed_patches_are_scored_against_the_same_pixels(build):
    """The head cuts pictures as the tokenizer does: a decoder that returns its picture has no error."""
    model, batch = build(small()), coloured(2)
    scene = model.scene(batch)
    head = model.objectives["pixels"].head
    picture = batch["image"] / 255.0 * 2 - 1
    head.decoder = torch.nn.Module()
    head.decoder.forward = lambda grid: picture
    assert model.objectives["pixels"](scene)["pixels"].item() < 1e-12


def test_ids_of_a_view_and_of_a_picture_agree(build):
    model, batch = build(small()).eval(), coloured(2)
    network = model.network("tokenizer")
    seen = network(model.scene(batch).view("clean")).taps["id"]
    assert torch.equal(seen.view(2, 4, 4), network.ids(batch["image"]))
    assert torch.equal(network.ids(batch["image"]), network.ids(batch["image"] / 255.0))


def test_another_patch_than_the_stride_is_refused(build):
    recipe = small()
    recipe.tokenize["image"] = use("patch", size=8, image_size=16)
    with pytest.raises(PlanError, match="4 px patches"):
        build(recipe)(coloured(1))
    with pytest.raises(RecipeError, match="power of two"):
        VqTokenizer(stride=6)


def test_weights_come_from_a_file_or_a_run(tmp_path, build):
    model = build(small())
    network = model.network("tokenizer")
    alone, run = tmp_path / "vq.safetensors", tmp_path / "run"
    save_file(dict(network.state_dict()), alone)
    (run / "checkpoints" / "step-00000010").mkdir(parents=True)
    (run / "checkpoints" / "step-00000020").mkdir()
    save_file({"x": torch.zeros(1)}, run / "checkpoints" / "step-00000010" / "model.safetensors")
    save_file(dict(model.state_dict()), run / "checkpoints" / "step-00000020" / "model.safetensors")
    options = {"codes": 16, "dim": 4, "width": 16, "depth": 1, "stride": 4}
    torch.manual_seed(9)
    for source in (alone, run):
        other = VqTokenizer(**options, weights=str(source))
        assert torch.equal(other.ids(coloured(2)["image"]), network.eval().ids(coloured(2)["image"]))
    with pytest.raises(CheckpointError, match="the options it was trained with"):
        VqTokenizer(**{**options, "codes": 32}, weights=str(alone))
    with pytest.raises(CheckpointError, match="no tokenizer at"):
        VqTokenizer(**options, weights=str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="without checkpoints"):
        read_vq(str(tmp_path), {})
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="no safetensors"):
        read_vq(str(tmp_path / "bad.safetensors"), {})


def test_a_view_of_another_kind_is_refused():
    with pytest.raises(PlanError):
        VqTokenizer()(View("v", {}))
