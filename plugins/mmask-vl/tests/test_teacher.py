"""A model of open_clip as a frozen teacher beside a network that learns: its features, and its vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from mmask import load_run, testing
from mmask.api import Batch, RecipeError
from mmask.testing import export_run, mmask

CONFIG = Path(__file__).parents[3] / "configs" / "clip-features-vit-b.toml"
TOWERS = [
    "networks.encoder.vision.layers=1", "networks.encoder.words.layers=1", "networks.encoder.vision.width=32",
    "networks.encoder.words.width=32", "networks.encoder.words.heads=2", "networks.encoder.dim=16",
    "tokenize.image.size=4",
]
STUDENT = [
    "data.dataset=emoji", "data.decode.image.size=32", "tokenize.image.size=4", "tokenize.image.image_size=32",
    "mask.count=25", "mask.min_area=4", "networks.encoder.width=32", "networks.encoder.depth=2",
    "networks.encoder.heads=2", "networks.encoder.drop_path=0", "train.val_samples=16",
]


def quiet(*words):
    return mmask(*words, "--workers", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a model that open_clip reads, made here."""
    folder = tmp_path_factory.mktemp("teacher")
    assert quiet("train", "--recipe", "clip-tiny", "--steps", 1, "--out", folder / "run", "--batch-size", 8,
                 "train.val_samples=8", *TOWERS) == 0
    export_run(folder / "run", "open-clip", folder / "clip")
    return folder / "clip"


@pytest.fixture(scope="module")
def student(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "run"
    assert quiet("train", "--config", CONFIG, "--out", folder, "--steps", 4, "--batch-size", 16, *STUDENT,
                 f"networks.teacher.model={teacher}", "schedule.warmup_steps=1", "train.save_every=2") == 0
    return folder


def recipe(*given):
    return testing.recipe(CONFIG, [*STUDENT, *given])


def loaded(folder):
    config = json.loads((folder / "mmask-clip.json").read_text())
    model = open_clip.CLIP(**config).eval()
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return model


def test_targets_are_open_clips_own_features_of_the_whole_picture(student, teacher):
    model, theirs = load_run(student), loaded(teacher)
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    batch = Batch({"image": pictures}, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
    scene = model.scene(batch)
    objective = model.objectives["features"]
    scored = objective.scored(scene.plans)
    target = objective.target(scene, scored)
    tokenizer = model.tokenizers["image"]
    mean, std = (torch.tensor(x)[:, None, None] for x in (tokenizer.mean, tokenizer.std))
    with torch.no_grad():
        theirs.visual.output_tokens = True
        pooled, tokens = theirs.visual((pictures / 255 - mean) / std)
        want = tokens @ theirs.visual.proj
    plan = scene.plan("mask")
    assert 0.2 < plan.ratio() < 0.45
    torch.testing.assert_close(target.value, want[plan.hidden])
    torch.testing.assert_close(scene.encode("teacher", "clean").pooled, pooled)
    term = objective(scene).terms["features"]
    said = objective.predict(scene).value
    cosine = torch.nn.functional.cosine_similarity(said, want[plan.hidden], dim=-1)
    torch.testing.assert_close(term.mean(), 1 - cosine.mean())


def test_the_teacher_stays_as_it_was_and_only_the_student_learns(student, teacher):
    model, theirs = load_run(student), loaded(teacher).state_dict()
    ours = model.network("teacher").clip.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert "text_projection" not in ours and not any(p.requires_grad for p in model.network("teacher").parameters())
    rows = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    assert all(row["grad_norm"] > 0 for row in rows if "grad_norm" in row)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith(("networks.encoder.", "objectives.features.head.")) for name in trained)


def test_such_a_run_resumes_exactly_and_its_student_is_exported(student, teacher, tmp_path):
    assert mmask("verify-resume", student) == 0
    made = export_run(student, "safetensors", tmp_path / "out")
    assert made.differences
    rows = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    assert 0 < next(row["val_trivial"] for row in rows if "val_trivial" in row) < 2


def test_texts_learn_to_meet_a_picture_tower_that_is_locked(teacher, tmp_path):
    """LiT (Zhai et al. 2022): the picture side is frozen, a new network of words learns its space."""
    locked = tmp_path / "locked.toml"
    locked.write_text(f'''
name = "locked"
views = {{}}
[data]
dataset = "emoji"
batch_size = 8
[data.decode.image]
use = "image"
size = 32
[data.decode.text]
use = "text"
vocabulary = "english-8k"
field = "name"
max_length = 16
[tokenize.image]
use = "patch"
size = 4
image_size = 32
[tokenize.text]
use = "ids"
vocabulary = "english-8k"
[networks.encoder]
use = "text"
stream = "text"
width = 32
depth = 1
heads = 2
[networks.teacher]
use = "open-clip"
model = "{teacher}"
text = ""
frozen = true
[objectives.contrast]
use = "contrast"
view = "clean"
[objectives.contrast.options]
dim = 16
first = {{ network = "encoder" }}
second = {{ network = "teacher", stream = "image" }}
[optim]
lr = 1e-3
[schedule]
steps = 3
[train]
val_samples = 8
''')
    folder = tmp_path / "run"
    assert quiet("train", "--config", locked, "--out", folder) == 0
    model = load_run(folder)
    theirs = loaded(teacher).state_dict()
    assert all(torch.equal(v, theirs[n]) for n, v in model.network("teacher").clip.state_dict().items())
    assert quiet("eval", "linear", folder, "--limit", 40, "--label", "group", "epochs=1", "--no-cache") == 0
    words = model.scene(pairs(4), {}).encode("encoder", "clean")
    assert words.layout.length == 9 and not words.streams
    assert quiet("train", "--config", locked, "--out", tmp_path / "no", "networks.encoder.stream=words") == 3


def pairs(count):
    """Pictures and texts of nothing."""
    image = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    text = torch.randint(10, 100, (count, 9))
    return Batch({"image": image, "text": text}, np.arange(count, dtype=np.uint64), np.zeros(count, np.int64))


def test_what_cannot_be_a_teacher_is_refused(teacher, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.json").write_text("{}")
    base = [f"networks.teacher.model={teacher}"]
    for given, said in (
        ([f"networks.teacher.model={tmp_path / 'empty'}"], "holds 0 configurations"),
        ([f"networks.teacher.model={tmp_path / 'odd.json'}"], "lacks embed_dim"),
        (["networks.teacher.model=ViT-B-15"], "did you mean"),
        (["networks.teacher.model=RN50", "tokenize.image.size=32", "tokenize.image.image_size=224"], "no states of"),
        (["tokenize.image.size=8", "mask.count=6"], "patches are .* of a picture, the tokenizer's"),
        (["networks.teacher.text=words"], "needs the stream 'words'"),
        (["networks.teacher.image="], "image and a text side"),
        (["objectives.features.target.network=teachers"], "did you mean"),
    ):
        with pytest.raises(RecipeError, match=said), torch.device("meta"):
            testing.build(recipe(*base, *given))
