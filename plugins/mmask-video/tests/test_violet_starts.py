"""VIOLET starts from torchvision's Video Swin and from a BERT, each a local file in its own names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.video import swin3d_t

from mmask.api import CheckpointError, load_run
from mmask.testing import build, import_run, mmask
from mmask_video.swin import VideoSwin
from mmask_video.violet_weights import VioletWeights

BERT = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
    "max_position_embeddings": 512, "type_vocab_size": 2,
}
SWIN = {"embed_dim": 8, "depths": [2, 1, 1], "num_heads": [2, 2, 4], "window_size": [4, 4, 4]}
SMALL = [
    "networks.encoder.width=32", "networks.encoder.depth=2", "networks.encoder.heads=2",
    "networks.encoder.swin.width=8", "networks.encoder.swin.depths=[2,1,1]", "networks.encoder.swin.heads=[2,2,4]",
]


@pytest.fixture
def bert():
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(1)
    return BertForMaskedLM(BertConfig(**BERT))


@pytest.fixture
def swin():
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    torch.manual_seed(2)
    return SwinTransformer3d([2, 4, 4], *SWIN.values())


def model():
    return build("violet-tiny", overrides=SMALL)


def same(one: dict, two: dict) -> bool:
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_published_size_takes_every_tensor_of_torchvisions_model_but_its_head():
    theirs = swin3d_t()
    ours = VideoSwin(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24))
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and sorted(unexpected) == ["head.bias", "head.weight"]
    clip = torch.randn(1, 3, 2, 32, 32)
    ours.eval(), theirs.eval()
    # one frame of zeros behind each clip and a stride of one: torchvision's embedding of pairs, frame by frame
    pairs = torch.stack([clip[:, :, 0], clip[:, :, 1], clip[:, :, 1], torch.zeros_like(clip[:, :, 1])], 2)
    with torch.no_grad():
        torch.testing.assert_close(ours.patch_embed(clip), theirs.patch_embed(pairs))
        torch.testing.assert_close(
            ours(clip), theirs.norm(theirs.features(theirs.patch_embed(pairs))), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_run_starts_from_a_swin_and_a_bert(ending, swin, bert, tmp_path, capsys):
    path = tmp_path / f"swin.{ending}"
    state = swin.state_dict()
    torch.save(state, path) if ending == "pth" else save_file(state, path)
    bert.save_pretrained(tmp_path / "bert")
    done = mmask("train", "--recipe", "violet-tiny", "--init", path, "--init", tmp_path / "bert", "--out",
                 tmp_path / "run", "--stop-after", 1, "--batch-size", 4, "--workers", 0, "--device", "cpu",
                 "train.val_samples=4", *SMALL)
    said = capsys.readouterr().out
    assert done == 0 and said.count("read as 'violet'") == 2
    assert "missing" not in said and "unexpected" not in said
    made = load_run(tmp_path / "run")
    body = {name: value for name, value in state.items() if not name.startswith("head.")}  # a first step has rate 0
    assert same(body, made.encoder.swin.state_dict())
    table = bert.get_input_embeddings().weight
    assert torch.equal(made.encoder.embed.words.weight[:40], table)
    assert torch.equal(made.objectives["words"].head.decoder.weight[:40], table)
    query = bert.bert.encoder.layer[1].attention.self.query.weight
    assert torch.equal(made.encoder.body.layers[1].attention.qkv.weight[:32], query)


def test_words_through_the_start_are_those_of_the_bert(bert):
    made = model().eval()
    lines = list(VioletWeights().load(made, bert.eval().state_dict()))
    assert all(line.startswith("resized") for line in lines) and len(lines) == 3
    encoder, ids = made.encoder, torch.randint(1, 40, (3, 7))
    with torch.no_grad():
        words = encoder.embed(ids.flatten(), torch.arange(7).expand_as(ids).flatten(), None).view(3, 7, -1)
        fused, _ = encoder.fuse(words[:, :0], words, None)
        torch.testing.assert_close(fused, bert.bert(ids).last_hidden_state, rtol=1e-4, atol=1e-5)


def test_an_encoder_alone_leaves_the_head_as_it_was(bert):
    made = model()
    before = made.objectives["words"].head.decoder.weight.clone()
    swin_before = made.encoder.swin.patch_embed.proj.weight.clone()
    lines = list(VioletWeights().load(made, bert.bert.state_dict()))
    assert lines == ["resized: encoder embed.words.weight 40 of 8192 rows"]
    assert torch.equal(made.objectives["words"].head.decoder.weight, before)
    assert torch.equal(made.encoder.swin.patch_embed.proj.weight, swin_before)


def test_the_authors_swin_is_read_by_its_own_names(swin):
    made, again = model(), model()
    list(VioletWeights().load(made, swin.state_dict()))
    inner = VioletWeights.official({"encoder": {f"swin.{n}": v for n, v in made.encoder.swin.state_dict().items()}})
    authors = {name.replace("enc_img.swin.", "backbone.", 1): value for name, value in inner.items()}
    assert "backbone.layers.0.blocks.1.mlp.fc1.weight" in authors
    authors["cls_head.fc_cls.weight"] = torch.zeros(4, 32)
    assert list(VioletWeights().load(again, authors)) == []
    assert same(made.encoder.swin.state_dict(), again.encoder.swin.state_dict())


def test_what_does_not_fit_is_said(swin, tmp_path):
    wide = build("violet-tiny")
    with pytest.raises(CheckpointError, match=r"swin\.patch_embed\.proj\.weight is \(8, 3, 2, 4, 4\)"):
        list(VioletWeights().load(wide, swin.state_dict()))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="a Video Swin's or a BERT's"):
        list(VioletWeights().load(wide, VioletWeights().read(tmp_path / "x.safetensors")))


def test_a_swin_becomes_a_run_of_its_own(swin, tmp_path):
    torch.save({"state_dict": swin.state_dict(), "meta": "said by its makers"}, tmp_path / "swin.pth")
    said = import_run(tmp_path / "swin.pth", "violet", tmp_path / "run", recipe="violet-tiny", overrides=SMALL)
    assert any("as initialised" in line for line in said)
    assert Path(tmp_path / "run/recipe.toml").is_file()
