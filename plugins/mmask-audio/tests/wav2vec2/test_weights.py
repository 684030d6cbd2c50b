"""Checkpoints of other codebases, sizes against transformers, and what is refused."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file

from mmask.api import CheckpointError
from mmask.testing import build as build_recipe
from mmask_audio.recipes.wav2vec2 import wav2vec2_base, wav2vec2_tiny
from mmask_audio.wav2vec2.names import torchaudio_names
from mmask_audio.wav2vec2.weights import Wav2Vec2Weights

FORMAT = Wav2Vec2Weights()


def fairseq_names(weights):
    """The official names, written down anew from the official module tree."""
    out = {}
    for name, value in weights.items():
        name = name.removeprefix("wav2vec2.")
        name = re.sub(r"conv_layers\.(\d+)\.conv\.", r"conv_layers.\1.0.", name)
        name = re.sub(r"conv_layers\.(\d+)\.layer_norm\.", r"conv_layers.\1.2.", name)
        name = name.replace("feature_projection.layer_norm", "layer_norm")
        name = name.replace("feature_projection.projection", "post_extract_proj")
        name = re.sub(r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm", name)
        name = re.sub(r"(layers\.\d+)\.attention", r"\1.self_attn", name)
        name = name.replace("feed_forward.intermediate_dense", "fc1").replace("feed_forward.output_dense", "fc2")
        name = name.replace("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g")
        name = name.replace("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v")
        name = name.replace("pos_conv_embed.conv", "pos_conv.0").replace("masked_spec_embed", "mask_emb")
        name = name.replace("quantizer.codevectors", "quantizer.vars").replace("project_hid", "final_proj")
        out[name] = value
    return out


def old_names(weights):
    """transformers' files before parametrizations."""
    pairs = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    out = weights
    for new, old in pairs.items():
        out = {name.replace(new, old): value for name, value in out.items()}
    return out


DIALECTS = {
    "transformers": (dict, 0),
    "old": (old_names, 0),
    "bare": (lambda w: {name.removeprefix("wav2vec2."): value for name, value in w.items()}, 0),
    "fairseq": (fairseq_names, 0),
    "torchaudio": (torchaudio_names, 8),  # no mask vector, no quantizer, no projections
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_loads(dialect, build, clips, tmp_path):
    rename, missing = DIALECTS[dialect]
    source, model = build(seed=1), build(seed=2)
    named = rename(FORMAT.write(source))
    save_file({name: value.contiguous() for name, value in named.items()}, tmp_path / "w.safetensors")
    lines = list(FORMAT.load(model, FORMAT.read(tmp_path / "w.safetensors")))
    assert len(lines) == missing and all(line.startswith("missing: ") for line in lines)
    states = [one.eval().scene(clips()).encode("encoder", "clean").state for one in (source, model)]
    assert torch.equal(*states)


def test_folders_and_torch_files_load_and_a_head_is_named(build, tmp_path):
    source, model = build(seed=1), build(seed=2)
    weights = {**FORMAT.write(source), "lm_head.weight": torch.zeros(3, 16)}
    torch.save({"model": weights}, tmp_path / "pytorch_model.bin")
    lines = list(FORMAT.load(model, FORMAT.read(tmp_path)))
    assert lines == ["unexpected: lm_head.weight"]
    assert torch.equal(model.encoder.mask_token, source.encoder.mask_token)
    assert not list(FORMAT.load(model.encoder, {n: v for n, v in FORMAT.write(model.encoder).items()}))


def test_what_does_not_fit_is_refused_before_anything_is_copied(build, tmp_path):
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = FORMAT.write(build(seed=3))
    wrong = {**weights, "quantizer.codevectors": torch.zeros(1, 99, 4)}
    with pytest.raises(CheckpointError, match=r"quantizer.codevectors is \(1, 99, 4\) in the checkpoint"):
        list(FORMAT.load(model, wrong))
    with pytest.raises(CheckpointError, match="none of the 1 tensors"):
        list(FORMAT.load(model, {"some.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="neither"):
        FORMAT.read(tmp_path)
    torch.save({"model": object}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="cannot be read as tensors alone"):
        FORMAT.read(tmp_path / "w.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_base_has_the_parameters_of_the_published_model():
    with torch.device("meta"):
        model = build_recipe(wav2vec2_base())
    assert count(model) == 95_044_608  # transformers' Wav2Vec2ForPreTraining with its default configuration
    convolutions = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 2 * 512
    assert count(model.tokenizers["audio"]) == convolutions
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    positions = 768 * 48 * 128 + 128 + 768
    around = 2 * 512 + 512 * 768 + 768 + 768 + 2 * 768
    assert count(model.encoder) == 12 * layer + positions + around
    quantizer = 640 * 128 + 512 * 640 + 640
    assert count(model.objectives["contrast"]) == quantizer + 256 * 256 + 256 + 768 * 256 + 256


def test_tiny_is_tiny():
    with torch.device("meta"):
        assert count(build_recipe(wav2vec2_tiny())) == 925_984
