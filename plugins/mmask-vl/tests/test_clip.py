"""Models of open_clip as networks: a dual encoder that trains, is judged, and goes back to open_clip."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from mmask import testing
from mmask.api import RecipeError, UsageError
from mmask.testing import export_run, mmask

SMALL = [
    "networks.encoder.vision.layers=1", "networks.encoder.words.layers=1", "networks.encoder.vision.width=32",
    "networks.encoder.words.width=32", "networks.encoder.words.heads=2", "networks.encoder.dim=16",
    "tokenize.image.size=8",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "run"
    assert mmask(
        "train", "--recipe", "clip-tiny", "--steps", 2, "--out", folder, "--batch-size", 8, "--workers", 0, "--device",
        "cpu", "train.val_samples=8", *SMALL,
    ) == 0
    return folder


def test_a_dual_encoder_is_judged_by_one_product_and_names_classes(run, tmp_path):
    out = tmp_path / "found.json"
    assert mmask("eval", "retrieval", run, "--device", "cpu", "--limit", 30, "--out", out, "gallery=2") == 0
    (result,) = json.loads(out.read_text())["results"]
    assert result["seeds"][0]["about"]["sides"] == ["text", "image"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"found-text.png", "found-image.png"}
    zero = tmp_path / "zero.json"
    assert mmask("eval", "zeroshot", run, "--device", "cpu", "--limit", 30, "--label", "group", "told=name", "--out",
                 zero, "templates=a picture of {}") == 0


def test_pairs_of_halves_are_the_logits_of_the_loss(run):
    model = testing.build("clip-tiny", overrides=SMALL).eval()
    objective, network = model.objectives["contrast"], model.network("encoder")
    import numpy as np

    from mmask.api import Batch

    image = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    ids = torch.randint(10, 100, (5, 9))
    ids[:, 8] = network.config["text_cfg"]["eos_id"]
    batch = Batch({"image": image, "text": ids}, np.arange(5, dtype=np.uint64), np.zeros(5, np.int64))
    scene = model.scene(batch, {})
    halves = [objective.side(scene, stream) for stream in objective.sides]
    scores = objective.pair_scores(model, *halves)
    own = torch.arange(5)
    both = torch.nn.functional.cross_entropy(scores, own) + torch.nn.functional.cross_entropy(scores.t(), own)
    torch.testing.assert_close(objective(scene)["contrast"], both / 2)
    own = scene.encode("encoder", "clean")
    asked = []
    network.clip.visual.register_forward_hook(lambda *_: asked.append("image"))
    torch.testing.assert_close(objective.side(scene, "text")["vectors"], halves[0]["vectors"])
    assert not asked  # no picture is looked at where words are asked for
    padded = torch.nn.functional.pad(ids, (0, 7))
    torch.testing.assert_close(own.stream("text").pooled, network.clip.encode_text(padded))


def test_a_run_goes_back_to_open_clip_and_its_file_makes_a_frozen_teacher(run, tmp_path):
    made = export_run(run, "open-clip", tmp_path / "out")
    assert {one.name for one in made.differences} == {"image", "text"}
    file = tmp_path / "out" / "open_clip_model.safetensors"
    teacher = testing.build("clip-tiny", overrides=[*SMALL, f"networks.encoder.weights={file}"])
    theirs = testing.build("clip-tiny", overrides=SMALL)
    ours = teacher.network("encoder").clip.state_dict()
    from safetensors.torch import load_file

    assert all(torch.equal(ours[name], value) for name, value in load_file(file).items())
    assert not torch.equal(ours["text_projection"], theirs.network("encoder").clip.text_projection)
    save_file({"nothing": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RecipeError, match="do not fit"):
        testing.build("clip-tiny", overrides=[*SMALL, f"networks.encoder.weights={tmp_path / 'other.safetensors'}"])


def test_named_models_read_the_vocabulary_that_they_were_made_for():
    named = ["networks.encoder.model=ViT-B-32", "tokenize.image.image_size=224", "tokenize.image.size=32"]
    own = ["tokenize.text.vocabulary=open_clip", "data.decode.text.vocabulary=open_clip"]
    with torch.device("meta"):
        model = testing.build("clip-tiny", overrides=[*named, *own])
    count = sum(p.numel() for p in model.network("encoder").parameters())
    with torch.device("meta"):
        assert count == sum(p.numel() for p in open_clip.create_model("ViT-B-32", device="meta").parameters())
    for overrides, said in ((["networks.encoder.model=ViT-B-33"], "did you mean"),
                            (named[:1] + own, "sees pictures of")):
        with pytest.raises((RecipeError, UsageError), match=said), torch.device("meta"):
            testing.build("clip-tiny", overrides=overrides)
