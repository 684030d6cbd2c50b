"""Each format: written, loaded in its own library by the executed snippet, equal; refusals that say why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmask import load_run
from mmask.api import ExportError
from mmask.testing import build, component, export_run, import_run, mmask, outputs_of, without_packages
from mmask_image.cae_weights import CaeWeights
from mmask_image.export.dense import dense_of
from mmask_image.export.pictures import encode
from mmask_image.recipes.mae import mae, mae_vit_b
from mmask_image.replace_weights import SimmimWeights
from mmask_image.spark.weights import SparkWeights
from mmask_image.weights import MaeWeights

TINY = [
    "networks.encoder.depth=2", "networks.encoder.width=32", "networks.encoder.heads=2",
    "objectives.pixels.head.width=48", "objectives.pixels.head.depth=1", "objectives.pixels.head.heads=3",
    "data.decode.image.size=32", "tokenize.image.image_size=32", "data.batch_size=8", "schedule.warmup_steps=1",
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two steps on the sample pictures."""
    out = tmp_path_factory.mktemp("runs") / "run"
    flags = ["--steps", "2", "--workers", "0", "--device", "cpu", "train.val_samples=8"]
    assert mmask("train", "--recipe", "mae-vit-tiny", "--out", out, *flags, *TINY) == 0
    return out


def python(code, folder):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


FORMS = [  # format, options, name of the output, its shape, what the snippet prints
    ("safetensors", [], "states.0", (4, 17, 32), "32224 numbers"),
    ("safetensors", ["whole=true"], "loss.pixels", (1,), "numbers"),
    ("timm", [], "features", (4, 17, 32), "(1, 17, 32)"),
    ("torchvision", [], "features", (4, 17, 32), "(1, 32)"),
    ("hf", [], "features", (4, 17, 32), "(1, 17, 32)"),
    ("hf", ["whole=true"], "predicted", (48, 192), "(1, 16, 192)"),
    ("onnx", [], "features", (4, 17, 32), "(1, 17, 32)"),
]


@pytest.mark.parametrize(("form", "options", "name", "shape", "printed"), FORMS)
def test_a_run_comes_back_equal_from_each_library(form, options, name, shape, printed, run, tmp_path, capsys):
    out = tmp_path / "out"
    assert mmask("export", run, "--format", form, "--out", out, *options) == 0
    about = json.loads((out / "export.json").read_text())
    found = {one["name"]: one for one in about["differences"]}
    assert tuple(found[name]["shape"]) == shape
    assert max(one["relative"] for one in found.values()) <= 1e-5
    said = capsys.readouterr().out
    assert f"{found[name]['relative']:.2e}" in said and "which printed: " in said and printed in said
    for line in (out / "load.py").read_text().splitlines():
        assert line in said
    assert about["step"] == 2 and about["recipe"] == "mae-vit-tiny"


def test_timm_pools_as_the_run_does_and_takes_a_classifier(run, tmp_path):
    export_run(run, "timm", tmp_path / "timm")
    code = """
import timm, torch
from safetensors.torch import save_file
model = timm.create_model("local-dir:.", pretrained=True).eval()
torch.manual_seed(0)
image = torch.randn(2, 3, 32, 32)
classes = timm.create_model("local-dir:.", pretrained=True, num_classes=7).eval()
assert classes(image).shape == (2, 7)
assert torch.equal(classes.forward_features(image), model.forward_features(image))
settings = timm.data.resolve_model_data_config(model)
print(settings["mean"], settings["input_size"])
with torch.inference_mode():
    save_file({"image": image, "pooled": model(image).contiguous()}, "pooled.st")
"""
    assert python(code, tmp_path / "timm").split("\n")[0] == "[0.485, 0.456, 0.406] (3, 32, 32)"
    got = load_file(tmp_path / "timm" / "pooled.st")
    with torch.inference_mode():
        want = encode(load_run(run), got["image"]).pooled
    assert (got["pooled"] - want).abs().max() < 1e-5 * want.abs().max()


def fresh(tmp_path, *, recipe="mae-vit-tiny", form=MaeWeights, tiny=TINY, **changes):
    """A run at step 0 of another shape, without training."""
    given = [*tiny, *(f"{key.replace('__', '.')}={value}" for key, value in changes.items())]
    weights = form().write(build(recipe, 5, overrides=given, profile="demo"))
    ready = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    save_file(ready, tmp_path / "w.safetensors")
    kind = recipe.split("-")[0]
    import_run(tmp_path / "w.safetensors", kind, tmp_path / "fresh", recipe=recipe, overrides=given, profile="demo")
    return tmp_path / "fresh"


WIDE = {"tokenize__image__image_size": "[32, 48]", "data__decode__image__size": "[32, 48]"}


@pytest.mark.parametrize("form", ["timm", "hf"])
def test_oblong_pictures_other_pools_and_no_biases_survive(form, tmp_path):
    run = fresh(
        tmp_path, networks__encoder__qkv_bias="false", networks__encoder__pool="cls", **WIDE
    )
    made = export_run(run, form, tmp_path / "out")
    assert made.differences[0].shape == (4, 25, 32) and made.differences[0].relative < 1e-9


def test_what_torchvision_cannot_hold_is_said(tmp_path):
    run = fresh(tmp_path, **WIDE)
    with pytest.raises(ExportError, match="'torchvision' knows square pictures only, these are 32x48"):
        export_run(run, "torchvision", tmp_path / "out")
    with pytest.raises(ExportError, match="'hf with its decoder' knows square pictures only"):
        export_run(run, "hf", tmp_path / "out", whole=True)
    assert not (tmp_path / "out").exists()


def test_norms_of_another_eps_are_refused_by_timm_and_held_by_torchvision(tmp_path):
    run = fresh(tmp_path, networks__encoder__eps="1e-3", networks__encoder__qkv_bias="false")
    with pytest.raises(ExportError, match=r"eps 1e-06, this one 0\.001"):
        export_run(run, "timm", tmp_path / "out")
    with pytest.raises(ExportError, match="one eps and one qkv_bias"):
        export_run(run, "hf", tmp_path / "out", whole=True)
    made = export_run(run, "torchvision", tmp_path / "out")
    assert made.differences[0].relative < 1e-9


def test_weights_that_were_tampered_with_are_noticed(run, tmp_path):
    """The comparison is of the file, not of what was in memory."""
    export_run(run, "timm", tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    weights = load_file(file)
    weights["blocks.1.attn.proj.bias"][3] += 1e-4
    save_file(weights, file, metadata={"format": "pt"})
    exporter, model = component("exporter", "timm"), load_run(run).double()
    inputs = {"image": torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))}
    theirs = outputs_of(tmp_path / "out", "timm", inputs)
    with torch.inference_mode():
        apart = (exporter.ours(model, inputs)["features"] - theirs["features"]).abs().max()
    assert apart > 1e-6


def test_the_onnx_graph_takes_any_batch(run, tmp_path):
    export_run(run, "onnx", tmp_path / "out")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(size=(7, 3, 32, 32)).astype(np.float32)
    (all_,) = session.run(None, {"image": image})
    (one,) = session.run(None, {"image": image[2:3]})
    assert np.abs(all_[2:3] - one).max() < 1e-5 * np.abs(all_).max()


@pytest.mark.parametrize(("form", "extra"), [("onnx", r"mmask-image\[onnx\]"), ("hf", r"mmask-image\[hf\]")])
def test_a_missing_library_names_the_extra(form, extra, run, tmp_path):
    with without_packages("onnxruntime", "transformers"), pytest.raises(ExportError, match=extra):
        export_run(run, form, tmp_path / "out")


def test_full_sizes_go_by_timms_own_names():
    import timm

    with torch.device("meta"):
        dense = dense_of(build(mae_vit_b()))
        theirs = timm.create_model(dense.name, num_classes=0, **dense.args).state_dict()
        plain = timm.create_model("vit_base_patch16_224", num_classes=0).state_dict()
    ours = {name: value.shape for name, value in dense.weights.items()}
    assert dense.name == "vit_base_patch16_224"
    assert ours == {n: v.shape for n, v in theirs.items()} == {n: v.shape for n, v in plain.items()}


def test_an_encoder_that_is_unknown_elsewhere_is_refused():
    model = build(mae("small", "", width=24, depth=1, heads=3, patch=8, image_size=16, decoder=(16, 1, 2)))
    model.networks["encoder"] = torch.nn.Linear(1, 1)
    with pytest.raises(ExportError, match="the encoder is a Linear, which does not say"):
        dense_of(model)


def test_an_official_checkpoint_becomes_a_run_that_trains_embeds_and_exports(tmp_path, capsys):
    source = build("mae-vit-tiny", 3, overrides=TINY, profile="demo")
    torch.save({"model": MaeWeights().write(source), "epoch": 7}, tmp_path / "official.pth")
    out = tmp_path / "run"
    words = ["import", str(tmp_path / "official.pth"), "--format", "mae", "--recipe", "mae-vit-tiny", "--out", str(out)]
    assert mmask(*words, "--profile", "demo", "--steps", "2", "--workers", "0", *TINY) == 0
    total = len(source.state_dict())
    assert f"loaded {total} of {total} tensors of mae-vit-tiny" in capsys.readouterr().out
    mine, theirs = load_run(out).state_dict(), source.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    features = tmp_path / "f.safetensors"
    assert mmask("embed", out, "--out", features, "--limit", "8") == 0
    assert load_file(features)["features"].shape == (8, 32)
    assert mmask("train", "--resume", out) == 0
    export_run(out, "timm", tmp_path / "timm")
    assert json.loads((Path(tmp_path) / "timm" / "export.json").read_text())["step"] == 2


NETS = [
    ("spark-resnet-tiny", "timm", {}), ("spark-convnext-tiny", "timm", {}), ("spark-convnext-tiny", "onnx", {}),
    ("spark-resnet-tiny", "torchvision", {
        "networks__encoder__source": "torchvision", "networks__encoder__options": "none",
        "objectives__pixels__head__width": "32",
    }),
]


@pytest.mark.parametrize(("recipe", "form", "changes"), NETS)
def test_a_convnet_comes_back_as_the_dense_network_it_is(recipe, form, changes, tmp_path):
    run = fresh(tmp_path, recipe=recipe, form=SparkWeights, tiny=(), **changes)
    made = export_run(run, form, tmp_path / "out")
    width = 512 if form == "torchvision" else 128
    assert made.differences[0].shape == (4, width, 8, 8)
    assert made.differences[0].relative < (1e-5 if form == "onnx" else 1e-9)
    others = {"timm": "hf", "torchvision": "timm", "onnx": "torchvision"}
    with pytest.raises(ExportError, match=r"use --format"):
        export_run(run, others[form], tmp_path / "other")


def test_an_official_cae_becomes_a_run_whose_encoder_timm_loads(tmp_path):
    run = fresh(tmp_path, recipe="cae-vit-tiny", form=CaeWeights, tiny=(), networks__encoder__depth="2")
    made = export_run(run, "timm", tmp_path / "out")
    assert made.differences[0].shape[2] == 192 and made.differences[0].relative < 1e-9


@pytest.mark.parametrize("form", ["timm", "onnx"])
def test_a_swin_leaves_its_mask_token_behind_and_comes_back_from_timm(form, tmp_path):
    changes = {
        "networks__encoder__depths": "[1, 1]", "networks__encoder__heads": "[1, 2]", "networks__encoder__width": "8",
        "tokenize__image__size": "8", "tokenize__image__image_size": "32", "data__decode__image__size": "32",
    }
    run = fresh(tmp_path, recipe="simmim-swin-t", form=SimmimWeights, tiny=(), **changes)
    made = export_run(run, form, tmp_path / "out")
    assert made.differences[0].shape == (4, 4, 4, 16)  # timm's Swin keeps channels last
    assert made.differences[0].relative < (1e-5 if form == "onnx" else 1e-9)
    if form == "timm":
        assert "mask_token" not in load_file(tmp_path / "out" / "model.safetensors")
