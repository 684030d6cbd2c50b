"""The reference implementation of VIOLET, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.api import Batch, Encoded, Layout, Prediction, Scored, Tokens, View
from mmask.testing import component
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_video.frames import FrameTokenizer
from mmask_video.matching import Matching
from mmask_video.violet import VioletEncoder
from mmask_video.violet_weights import VioletWeights, split

FILES = golden_files("violet", Path(__file__).parent)
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden) -> SimpleNamespace:
    c, bert, swin = file.config, file.config["bert"], file.config["swin"]
    stride = swin["patch_size"][1] * 2 ** (len(swin["depths"]) - 1)
    frames = FrameTokenizer(frames=c["frames"], image_size=c["size_img"], cell=stride)
    words = SimpleNamespace(size=bert["vocab_size"], pad_id=0)
    assert bert["hidden_act"] == "gelu" and swin["qkv_bias"]
    encoder = VioletEncoder(
        tokenizers={"video": frames, "text": words}, width=c["hidden_size"], depth=bert["num_hidden_layers"],
        heads=bert["num_attention_heads"], hidden=bert["intermediate_size"], eps=bert["layer_norm_eps"],
        places=bert["max_position_embeddings"], types=bert["type_vocab_size"], side=c["max_grid"],
        frames=file.weights["enc_img.emb_len"].shape[1], dropout=0.0, attention_dropout=0.0, pad_votes=True,
        swin={
            "width": swin["embed_dim"], "depths": swin["depths"], "heads": swin["num_heads"], "drop_path": 0.0,
            "window": swin["window_size"], "patch": swin["patch_size"], "mlp_ratio": swin["mlp_ratio"],
        },
    )
    head = component("head", "mlm", tied=False, wiring={"network": encoder})
    codes = SimpleNamespace(dim=c["vq_vocab"])
    cells = component("head", "two-layers", times=2, wiring={"network": encoder, "target": codes})
    section = SimpleNamespace(network="encoder", view="masked", weight=1.0)
    matching = Matching(
        name="matching", section=section, networks={"encoder": encoder}, group=max(2, c["batch"]),
        temperature=c["vtm_temperature"], dropout=0.0,
    )
    modules = {"encoder": encoder, "words": head, "cells": cells, "matching": matching}
    own = split(file.weights)
    for part, module in modules.items():
        module.double().eval()
        missing, unexpected = module.load_state_dict(own[part], strict=False)
        assert not unexpected
        assert all(name.endswith("relative_position_index") for name in missing)
    return SimpleNamespace(**modules, frames=frames, parts=modules)


def views(file: Golden, model: SimpleNamespace) -> View:
    clip = file.inputs["img"].transpose(1, 2)
    batch = Batch({"video": clip}, np.arange(len(clip), dtype=np.uint64), np.zeros(len(clip), np.int64))
    ids = file.inputs["txt"]
    layout = Layout(*ids.shape, valid=file.inputs["txt_mask"].bool())
    return View("masked", {"video": model.frames(batch), "text": Tokens(layout, ids=ids)})


class Once:
    """A scene with one view, encoded once."""

    def __init__(self, view, model):
        self.batch, self._view, self._model = range(len(view.tokens["text"].ids)), view, model
        self.encoded = model.encoder(view, taps=("clip", "words", "fused", "votes"))

    def encode(self, network, view, *, taps=()):
        return self.encoded

    def network(self, name):
        return self._model.encoder

    def view(self, name):
        return self._view


def at(answers: torch.Tensor, layout: Layout) -> Scored:
    hidden = (answers != -1).flatten().nonzero().flatten()
    return Scored(layout, index=hidden)


def run(file: Golden, model: SimpleNamespace) -> SimpleNamespace:
    view = views(file, model)
    scene = Once(view, model)
    streams = scene.encoded.streams
    text = at(file.inputs["ans_mtm"], view.tokens["text"].layout)
    frames, (_, high, wide) = file.config["frames"], view.tokens["video"].layout.grid
    answers = file.inputs["ans_mvm"].unflatten(1, (frames, 1 + high * wide))[:, :, 1:].flatten(1, 2)
    cells = at(answers, view.tokens["video"].layout)
    words = model.words(streams["text"], text)
    codes = model.cells(streams["video"], cells)
    scores = model.matching.scores(scene, file.inputs["negative_text"])
    entropy = torch.nn.functional.cross_entropy
    losses = {
        "loss_mtm": entropy(words.value, text.take(file.inputs["ans_mtm"])),
        "loss_mvm": entropy(codes.value, cells.take(answers)),
        "loss_vtm": entropy(scores, torch.zeros(len(scores), dtype=torch.int64)),
    }
    return SimpleNamespace(
        scene=scene, words=words, codes=codes, scores=scores, losses=losses, loss=sum(losses.values()), text=text,
        cells=cells, view=view,
    )


@each_file
def test_activations_are_those_of_the_reference(path):
    file = golden(path)
    model = model_of(file)
    got = run(file, model)
    want, taps = file.outputs, got.scene.encoded.taps
    clip = file.inputs["img"].transpose(1, 2)
    mean, std = model.encoder.mean.double(), model.encoder.std.double()
    stages = model.encoder.swin.stages((clip - mean) / std)
    assert_close("patch_embed", stages[0].permute(0, 4, 1, 2, 3), want["patch_embed"])
    assert_close("swin_stage0", stages[2].permute(0, 4, 1, 2, 3), want["swin_stage0"])
    assert_close("swin_output", model.encoder.swin.norm(stages[-1]).permute(0, 4, 1, 2, 3), want["swin_output"])
    assert_close("feat_img", taps["clip"], want["feat_img"])
    valid = file.inputs["txt_mask"].bool()
    assert_close("feat_txt", taps["words"][valid], want["feat_txt"][valid])
    ahead = taps["clip"].shape[1]
    whole = torch.cat([torch.ones(len(valid), ahead, dtype=torch.bool), valid], 1)
    assert_close("fused", taps["fused"][whole], want["fused"][whole])
    assert_close("mtm_logits", got.words.value, got.text.take(want["mtm_logits"]))
    frames = file.config["frames"]
    codes = want["mvm_logits"].unflatten(1, (frames, -1))[:, :, 1:].flatten(1, 2)
    assert_close("mvm_logits", got.codes.value, got.cells.take(codes))
    assert_close("vtm_logits", got.scores, want["vtm_logits"])
    score = want["attention_score"]
    cells = score[:, :ahead].unflatten(1, (frames, -1))[:, :, 1:].flatten(1, 2)
    assert_close("attention_score", taps["votes"], torch.cat([cells, score[:, ahead:]], 1))


@each_file
def test_losses_and_gradients_are_those_of_the_reference(path):
    file = golden(path)
    model = model_of(file)
    got = run(file, model)
    for name, loss in got.losses.items():
        assert_close(name, loss, file.outputs[name])
    assert_close("loss", got.loss, file.outputs["loss"])
    got.loss.backward()
    grads = VioletWeights.official(
        {part: {n: p.grad for n, p in module.named_parameters()} for part, module in model.parts.items()}
    )
    assert file.grads["loss"]
    for name, want in file.grads["loss"].items():
        assert_close(f"grads/loss/{name}", grads[name], want)


@each_file
def test_an_image_normalised_before_it_was_blackened_is_another_loss(path):
    file = golden(path)
    model = model_of(file)
    model.encoder.mean.zero_()
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model).loss, file.outputs["loss"])


@each_file
def test_the_captions_of_the_group_are_those_of_the_file(path):
    file = golden(path)
    matching = model_of(file).matching
    others = matching.others(file.config["batch"])
    want = file.inputs["negative_text"]
    if others.shape == want.shape:
        assert torch.equal(others.sort(1).values, want.sort(1).values)


@each_file
def test_scored_logits_are_all_that_is_computed(path):
    file = golden(path)
    got = run(file, model_of(file))
    assert isinstance(got.words, Prediction) and isinstance(got.scene.encoded, Encoded)
    assert len(got.words.value) == int((file.inputs["ans_mtm"] != -1).sum())
