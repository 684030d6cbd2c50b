"""To transformers and torchaudio and back: written, loaded there by the executed snippet, equal."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from mmask import load_recipe, load_run
from mmask.api import ExportError
from mmask.testing import build, export_run, import_run
from mmask_audio.wav2vec2.export.to_hf import HfSpeechExporter
from mmask_audio.wav2vec2.export.to_torchaudio import TorchaudioExporter
from mmask_audio.wav2vec2.weights import Wav2Vec2Weights

TINY = [
    "networks.encoder.width=16", "networks.encoder.depth=2", "networks.encoder.heads=2",
    "networks.encoder.positions=5", "networks.encoder.position_groups=4", "tokenize.audio.channels=8",
    "tokenize.audio.kernels=[10,3,2]", "tokenize.audio.strides=[5,2,2]", "objectives.contrast.target.width=8",
    "objectives.contrast.target.dim=8", "objectives.contrast.target.entries=6",
]
LAYER = ["tokenize.audio.norm=layer", "tokenize.audio.bias=true", "networks.encoder.pre_norm=true"]


@pytest.fixture
def fresh(tmp_path):
    """A run at step 0, without training."""

    def make(*more):
        sizes = [*TINY, *more]
        weights = Wav2Vec2Weights().write(build("wav2vec2-tiny", 5, overrides=sizes, profile="demo"))
        moved = {name: value + 0.05 * torch.randn_like(value) for name, value in weights.items()}
        save_file(moved, tmp_path / "w.safetensors")
        file = tmp_path / "w.safetensors"
        import_run(file, "wav2vec2", tmp_path / "fresh", recipe="wav2vec2-tiny", overrides=sizes, profile="demo")
        return tmp_path / "fresh"

    return make


BACK = [  # format, options, the network, what stays behind
    ("hf", {}, ["networks.encoder.positions=8"], ("quantizer", "project_")),
    ("hf", {"whole": True}, LAYER, ("nothing",)),
    ("torchaudio", {}, LAYER, ("quantizer", "project_", "wav2vec2.masked_spec_embed")),
]


@pytest.mark.parametrize(("form", "options", "network", "behind"), BACK, ids=["hf", "hf-whole", "torchaudio"])
def test_a_run_comes_back_equal(form, options, network, behind, fresh, tmp_path):
    run, format_ = fresh(*network), Wav2Vec2Weights()
    found = export_run(run, form, tmp_path / "out", **options).differences
    assert {one.name for one in found} == ({"predicted", "codes"} if options else {"features"})
    assert max(one.relative for one in found) < 1e-9
    again = load_run(run)
    before = {name: value.clone() for name, value in format_.write(again).items()}
    for part in again.parameters():
        part.data.zero_()
    lines = list(format_.load(again, format_.read(tmp_path / "out" / "model.safetensors")))
    missing = {line.removeprefix("missing: ") for line in lines}
    assert missing == {name for name in before if name.startswith(behind)}
    after = format_.write(again)
    assert all(torch.equal(before[name], after[name]) for name in before if name not in missing)


def test_what_a_form_cannot_hold_is_said(fresh, tmp_path):
    run = fresh("networks.encoder.eps=1e-6")
    with pytest.raises(ExportError, match=r"eps 1e-5, this network's 1e-06"):
        TorchaudioExporter().write(load_run(run), load_recipe(str(run / "recipe.toml")), tmp_path)
    bare = load_run(run)
    bare.tokenizers.clear()
    with pytest.raises(ExportError, match="does not start with the convolutions"):
        HfSpeechExporter().write(bare, load_recipe(str(run / "recipe.toml")), tmp_path)


def test_written_files_say_what_the_network_is(fresh, tmp_path):
    run, out = fresh(*LAYER), tmp_path / "out"
    out.mkdir()
    HfSpeechExporter(whole=True).write(load_run(run), load_recipe(str(run / "recipe.toml")), out)
    config = json.loads((out / "config.json").read_text())
    assert config["conv_kernel"] == [10, 3, 2] and config["do_stable_layer_norm"] and config["conv_bias"]
    assert (config["num_codevectors_per_group"], config["contrastive_logits_temperature"]) == (6, 0.1)
    assert json.loads((out / "preprocessor_config.json").read_text())["sampling_rate"] == 16_000
