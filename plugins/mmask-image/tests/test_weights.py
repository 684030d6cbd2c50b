"""The importer of reference checkpoints."""

from __future__ import annotations

import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mmask.api import CheckpointError, use
from mmask_image.recipes.mae import mae
from mmask_image.weights import MaeWeights


def small(image_size=32, channels=3):
    recipe = mae("small", "", width=24, depth=2, heads=3, patch=8, image_size=image_size, decoder=(16, 2, 2))
    recipe.tokenize["image"] = use("patch", size=8, image_size=image_size, in_chans=channels)
    return recipe


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_the_official_checkpoint_with_its_namespace_loads(tmp_path, build):
    source, target, form = build(small(), 1), build(small(), 2), MaeWeights()
    arguments = argparse.Namespace(lr=1e-3)
    torch.save({"model": form.write(source), "args": arguments, "epoch": 3}, tmp_path / "c.pth")
    assert not same(source, target)
    assert list(form.load(target, form.read(tmp_path / "c.pth"))) == []
    assert same(source, target)


def test_plain_state_dicts_and_safetensors_load(tmp_path, build):
    source, form = build(small(), 1), MaeWeights()
    weights = {name: value.contiguous() for name, value in form.write(source).items()}
    torch.save(weights, tmp_path / "c.pth")
    save_file(weights, tmp_path / "c.safetensors")
    for name in ("c.pth", "c.safetensors"):
        target = build(small(), 2)
        assert list(form.load(target, form.read(tmp_path / name))) == []
        assert same(source, target)


class Shell:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_carries_code_is_refused_and_the_code_not_run(tmp_path):
    torch.save({"model": {}, "args": Shell(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth"):
        MaeWeights().read(tmp_path / "evil.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Shell(tmp_path / "ran")))
    with pytest.raises(CheckpointError):
        MaeWeights().read(tmp_path / "raw.pth")
    assert not (tmp_path / "ran").exists()


def test_nothing_stays_allowed_after_reading(tmp_path):
    before = set(torch.serialization.get_safe_globals())  # the list's order is that of a set
    torch.save({"model": {"w": torch.zeros(1)}, "args": argparse.Namespace()}, tmp_path / "c.pth")
    MaeWeights().read(tmp_path / "c.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_an_encoder_alone_leaves_the_decoder_and_says_so(build):
    source, target, form = build(small(), 1), build(small(), 2), MaeWeights()
    kept = {name: value.clone() for name, value in target.objectives.state_dict().items()}
    classifier = {"head.weight": torch.zeros(10, 24), "head.bias": torch.zeros(10)}
    lines = list(form.load(target, dict(source.encoder.state_dict()) | classifier))
    assert lines == ["missing: the decoder (the checkpoint is of an encoder alone)"]
    assert same(source.encoder, target.encoder)
    assert all(torch.equal(value, kept[name]) for name, value in target.objectives.state_dict().items())


def test_a_network_alone_takes_the_encoder_and_reports_the_rest(build):
    source, target, form = build(small(), 1), build(small(), 2).encoder, MaeWeights()
    weights = form.write(source)
    weights["extra"] = weights.pop("cls_token")
    lines = list(form.load(target, weights))
    assert "unexpected: encoder extra" in lines
    assert "missing: encoder cls_token" in lines
    assert any(line.startswith("unexpected: ") and "decoder" in line for line in lines)


def test_position_tables_of_another_grid_are_resized_as_timm_does(build):
    from timm.layers import resample_abs_pos_embed

    source, target, form = build(small(32), 1), build(small((48, 32)), 2), MaeWeights()
    lines = list(form.load(target, form.write(source)))
    assert lines == [
        "resized: encoder pos_embed from 17 to 25 rows", "resized: decoder positions from 17 to 25 rows",
    ]
    want = resample_abs_pos_embed(source.encoder.pos_embed.detach(), [6, 4], [4, 4], num_prefix_tokens=1)
    assert torch.equal(target.encoder.pos_embed, want)
    assert not target.encoder.pos_embed.requires_grad


def test_a_tensor_that_cannot_fit_stops_before_anything_is_copied(build):
    source, target, form = build(small(32, 3), 1), build(small(32, 1), 2), MaeWeights()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"proj.weight is \(24, 3, 8, 8\), .* \(24, 1, 8, 8\)"):
        list(form.load(target, form.write(source)))
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_checkpoint_of_something_else_is_refused(build):
    with pytest.raises(CheckpointError, match="none of the 1 tensors"):
        list(MaeWeights().load(build(small()), {"conv1.weight": torch.zeros(3)}))
