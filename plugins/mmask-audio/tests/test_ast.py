"""SSAST to transformers' ASTModel and back: the written folder loads there and gives the same states."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mmask.api import Batch, CheckpointError, ExportError
from mmask_audio.ast_export import AstExporter
from mmask_audio.ast_weights import AstWeights, ours_of, theirs_of
from mmask_audio.recipes.ssast import ssast


@pytest.fixture
def made(build):
    """(model, recipe) of a small SSAST with weights moved away from where they start."""

    def make(patch=(8, 8), frames=48, **network):
        recipe = ssast("small", "", width=24, depth=2, heads=3, patch=patch, bins=32, frames=frames, count=6)
        section = recipe.networks["encoder"]
        recipe.networks["encoder"] = section.model_validate({"use": "ast", **section.options(), **network})
        model = build(recipe)
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
        return model, recipe

    return make


def example(model, count=2):
    torch.manual_seed(3)
    fields = model.tokenizers["audio"].example(count)
    return Batch(fields, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))


@pytest.fixture
def there(monkeypatch):
    """A folder and its snippet -> the names that the snippet defines, run there. transformers imports torchaudio where
    it is installed, whose releases refuse a torch of another CUDA; no number depends on that."""
    monkeypatch.setattr(torch.version, "cuda", None)

    def run(folder, snippet):
        monkeypatch.chdir(folder)
        names: dict = {}
        exec(compile(snippet, "load.py", "exec"), names)
        return names

    return run


@pytest.mark.parametrize("network", [{}, {"eps": 1e-5, "qkv_bias": False, "mlp_ratio": 2.0}], ids=["usual", "other"])
def test_what_is_written_gives_the_same_states_there(network, made, there, tmp_path, capsys):
    model, recipe = made(**network)
    exporter = AstExporter()
    snippet = exporter.write(model, recipe, tmp_path)
    names = there(tmp_path, snippet)
    assert capsys.readouterr().out.strip().endswith("(1, 26, 24)")
    model = model.double().eval()
    inputs = {name: value.double() for name, value in exporter.inputs(model, example(model)).items()}
    ours, theirs = exporter.ours(model, inputs)["features"], exporter.theirs(names, inputs)["features"]
    assert ours.shape == (2, 26, 24)
    assert (ours - theirs).abs().max() < 1e-9 * ours.abs().max()
    moved = {**inputs, "spectrogram": inputs["spectrogram"].flip(2)}
    assert (exporter.theirs(names, moved)["features"] - ours).abs().max() > 1e-3


def test_the_folder_comes_back_into_a_model(made, tmp_path):
    model, recipe = made()
    AstExporter().write(model, recipe, tmp_path)
    other, _ = made()
    lines = list(AstWeights().load(other, AstWeights().read(tmp_path / "model.safetensors")))
    assert lines == ["missing: encoder mask_token"]
    for name, value in model.encoder.state_dict().items():
        if name != "mask_token":
            assert torch.equal(other.encoder.state_dict()[name], value), name


def test_a_classifier_is_read_without_its_last_layer(made, tmp_path):
    model, _ = made()
    theirs = {f"audio_spectrogram_transformer.{n}": v for n, v in theirs_of(model.encoder.state_dict()).items()}
    theirs |= {"classifier.dense.weight": torch.zeros(5, 24), "classifier.layernorm.weight": torch.zeros(24)}
    torch.save(theirs, tmp_path / "pytorch_model.bin")
    found = AstWeights().read(tmp_path / "pytorch_model.bin")
    longer, _ = made(frames=96)
    lines = list(AstWeights().load(longer.encoder, found))
    assert lines == ["resized: encoder pos_embed from 26 to 50 rows", "missing: encoder mask_token"]


def test_names_go_there_and_back(made):
    model, _ = made()
    own = {name: value for name, value in model.encoder.state_dict().items() if name != "mask_token"}
    back = ours_of(theirs_of(own))
    assert back.keys() == own.keys() and all(torch.equal(back[name], own[name]) for name in own)
    theirs = theirs_of(own)
    theirs.pop("encoder.layer.1.attention.attention.key.weight")
    with pytest.raises(CheckpointError, match="no 'key'"):
        ours_of(theirs)
    with pytest.raises(CheckpointError, match="none of the 1 tensors"):
        list(AstWeights().load(model, {"other": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("options", "why"), [({"patch": (32, 2)}, "32 bins by 2"), ({"distilled": False}, "has a distillation token")]
)
def test_what_the_form_cannot_hold_is_said(options, why, made, tmp_path):
    model, recipe = made(**options)
    with pytest.raises(ExportError, match=why):
        AstExporter().write(model, recipe, tmp_path)


def test_the_feature_extractor_is_described_only_where_it_computes_the_same(made, tmp_path):
    model, recipe = made()
    AstExporter().write(model, recipe, tmp_path)
    found = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert (found["mean"], found["std"], found["num_mel_bins"], found["max_length"]) == (-4.2677393, 4.5689974, 32, 48)
    (tmp_path / "preprocessor_config.json").unlink()
    decoder = recipe.data.decode["audio"]
    recipe.data.decode["audio"] = decoder.model_validate({"use": "fbank", **decoder.options(), "spread": 1.0})
    AstExporter().write(model, recipe, tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
