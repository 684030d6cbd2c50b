"""hf-videomae: written, loaded by transformers, equal, and read back; refusals that say why."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmask import load_run
from mmask.api import ExportError
from mmask.testing import build, export_run, import_run
from mmask_video.weights import VideoMaeWeights

TINY = [
    "networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2",
    "objectives.pixels.head.width=24", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=3",
    "data.decode.video.size=32", "data.decode.video.frames=4", "tokenize.video.image_size=32",
    "tokenize.video.frames=4", "tokenize.video.size=[2,8,8]", "mask.spatial.ratio=0.75",
]


def fresh(folder, *more):
    """A run without a step."""
    overrides = [*TINY, *more]
    save_file(VideoMaeWeights().write(build("videomae-tiny", overrides=overrides)), folder / "w.safetensors")
    said = import_run(folder / "w.safetensors", "videomae", folder / "run", recipe="videomae-tiny", overrides=overrides)
    assert not [line for line in said if line.startswith(("missing", "unexpected"))]
    return folder / "run"


@pytest.mark.parametrize("options", [{}, {"whole": True}], ids=["encoder", "whole"])
@pytest.mark.parametrize("norm", ["true", "false"])
def test_a_run_comes_back_equal(options, norm, tmp_path):
    more = [f"networks.encoder.norm={norm}", "objectives.pixels.head.last_eps=1e-5"]
    run = fresh(tmp_path, *more)
    made = export_run(run, "hf-videomae", tmp_path / "out", **options)
    (found,) = made.differences
    assert found.name == ("predicted" if options else "features")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["use_mean_pooling"] == (norm == "false")
    said = import_run(
        tmp_path / "out", "videomae", tmp_path / "again", recipe="videomae-tiny", overrides=[*TINY, *more]
    )
    assert any("decoder" in line for line in said) == (not options)
    mine, back = (load_run(one).encoder.state_dict() for one in (run, tmp_path / "again"))
    assert all(torch.equal(mine[name], back[name]) for name in mine)


def test_what_transformers_cannot_hold_is_said(tmp_path):
    with pytest.raises(ExportError, match=r"eps 1e-06, in transformers always 1e-05"):
        export_run(fresh(tmp_path), "hf-videomae", tmp_path / "out", whole=True)


def test_oblong_frames_are_refused(tmp_path):
    run = fresh(tmp_path, "data.decode.video.size=[32,16]", "tokenize.video.image_size=[32,16]")
    with pytest.raises(ExportError, match="square frames"):
        export_run(run, "hf-videomae", tmp_path / "out")


def test_biases_of_keys_are_left_out(tmp_path):
    export_run(fresh(tmp_path), "hf-videomae", tmp_path / "out")
    names = load_file(tmp_path / "out/model.safetensors")
    assert not [name for name in names if name.endswith("key.bias")]
    assert [name for name in names if name.endswith("attention.attention.q_bias")]  # as transformers writes them


@pytest.mark.parametrize("kind", ["VideoMAEForPreTraining", "VideoMAEModel"])
def test_a_folder_that_transformers_wrote_is_read_whole(kind, tmp_path):
    """On disk biases have other names than in its modules."""
    import transformers

    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, decoder_hidden_size=24, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=48, use_mean_pooling=False,
    )
    theirs = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.1)
    theirs.save_pretrained(tmp_path)
    overrides = [
        "data.decode.video.size=32", "data.decode.video.frames=4", "tokenize.video.size=[2,8,8]",
        "tokenize.video.frames=4", "tokenize.video.image_size=32", "networks.encoder.width=48",
        "networks.encoder.depth=2", "networks.encoder.heads=4", "networks.encoder.mlp_ratio=2",
        "objectives.pixels.head.width=24", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=2",
        "objectives.pixels.head.mlp_ratio=2",
    ]
    model = build("videomae-tiny", overrides=overrides).eval()
    formats = VideoMaeWeights()
    said = list(formats.load(model, formats.read(tmp_path)))
    assert all("decoder (the checkpoint is of an encoder alone)" in line for line in said)
    kept = theirs.state_dict() if kind == "VideoMAEModel" else theirs.videomae.state_dict()
    biases = {name: value for name, value in kept.items() if name.endswith(("query.bias", "q_bias"))}
    assert len(biases) == 2
    for number, value in enumerate(biases.values()):
        torch.testing.assert_close(model.encoder.blocks[number].attn.qkv.bias[:48], value)
