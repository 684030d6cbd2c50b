"""transformers and back: exported encoders agree there, its checkpoints agree here, and what does not fit says why."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from mmask.api import CheckpointError, ExportError, NetworkSection, Recipe, use
from mmask.testing import compared, export_run, mmask
from mmask_text.export.to_hf import HfTextExporter
from mmask_text.recipes.bert import bert_tiny, roberta_base
from mmask_text.recipes.modernbert import modernbert_base
from mmask_text.recipes.mosaicbert import mosaicbert_base
from mmask_text.vocabulary import open_vocabulary
from mmask_text.weights.configs import config_options
from mmask_text.weights.hf import HfTextWeights

transformers = pytest.importorskip("transformers")

TINY = {"width": 24, "depth": 2, "heads": 3, "hidden": 40}
KINDS = {
    "bert": (bert_tiny, {}), "roberta-as-bert": (roberta_base, {}), "roberta": (roberta_base, {"place_offset": 1}),
    "modernbert": (modernbert_base, {"depth": 4, "window": 6}), "pooler": (bert_tiny, {"pooler": True}),
}
KIND = pytest.mark.parametrize("kind", KINDS)


def recipe_of(kind: str) -> Recipe:
    make, options = KINDS[kind]
    made = make()
    section = made.networks["encoder"].model_dump() | TINY | options
    made.networks["encoder"] = NetworkSection.model_validate(section)
    made.tokenize["text"] = use("ids")
    return made


def model_of(kind: str, build: Any) -> Any:
    model = build(recipe_of(kind)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("whole", [False, True], ids=["encoder", "whole"])
@KIND
def test_what_is_written_agrees_there(kind, whole, build, texts, tmp_path, monkeypatch):
    model, recipe, exporter = model_of(kind, build), recipe_of(kind), HfTextExporter(whole=whole)
    snippet = exporter.write(model, recipe, tmp_path)
    (tmp_path / "load.py").write_text(snippet)
    monkeypatch.chdir(tmp_path)
    loaded = runpy.run_path("load.py")
    inputs = exporter.inputs(model, texts(7, 24, 12, size=900))
    theirs = HfTextExporter(whole=whole).theirs(loaded, inputs)  # by one that knows of the files alone
    found = compared(exporter.ours(model.double(), inputs), theirs, exporter.tolerance)
    assert {one.name for one in found} == {"logits" if whole else "states", "text"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == {"roberta-as-bert": "bert", "pooler": "bert"}.get(kind, kind)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_what_is_written_is_read_back(kind, build, tmp_path, texts):
    """Through the configuration and the names alone: the same tensors, and no line of complaint."""
    model = model_of(kind, build)
    HfTextExporter(whole=True).write(model, recipe_of(kind), tmp_path)
    made = config_options(json.loads((tmp_path / "config.json").read_text()))
    recipe = recipe_of(kind)
    recipe.networks["encoder"] = NetworkSection.model_validate({"use": "text", **made.encoder})
    recipe.objectives["words"].head = use("mlm", **made.head)
    again, form = build(recipe, seed=7), HfTextWeights()
    assert not list(form.load(again, form.read(tmp_path)))
    batch = texts(9, 5)
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        rows = slice(1, None) if kind == "roberta" and len(ours) == 513 else slice(None)  # the row of padding
        assert torch.equal(ours[rows], theirs[rows])
    assert torch.equal(model(batch)["words"], again.eval()(batch)["words"])


def test_names_go_both_ways(build):
    for kind in ("bert", "modernbert"):
        one, two, form = model_of(kind, build), build(recipe_of(kind), seed=3), HfTextWeights()
        lines = list(form.load(two, form.write(one)))
        assert not lines
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    mosaic = mosaicbert_base()
    mosaic.networks["encoder"] = NetworkSection.model_validate(mosaic.networks["encoder"].model_dump() | TINY)
    mosaic.tokenize["text"] = use("ids")
    written = HfTextWeights().write(build(mosaic))
    assert written["bert.encoder.layer.1.mlp.gated_layers.weight"].shape == (80, 24)
    assert not list(HfTextWeights().load(build(mosaic), written))
    with pytest.raises(ExportError, match="it has gated units"):
        HfTextExporter().write(build(mosaic), mosaic, Path("nowhere"))


def test_checkpoints_that_do_not_fit_say_why(build, tmp_path):
    form, model = HfTextWeights(), model_of("bert", build)
    weights = form.write(model)
    with pytest.raises(CheckpointError, match="none of the 1 tensors has the name of a layer"):
        list(form.load(model, {"a": torch.zeros(1)}))
    wrong = weights | {"bert.encoder.layer.1.output.dense.bias": torch.zeros(7)}
    before = model.encoder.body.layers[0].feed.up.weight.clone()
    with pytest.raises(CheckpointError, match=r"output.dense.bias is \(7,\), the model has \(24,\)"):
        list(form.load(model, wrong | {"bert.encoder.layer.0.intermediate.dense.weight": torch.zeros(40, 24)}))
    assert torch.equal(model.encoder.body.layers[0].feed.up.weight, before)
    del weights["cls.predictions.transform.dense.bias"]
    lines = list(form.load(model, weights | {"bert.pooler.dense.weight": torch.zeros(24, 24)}))
    assert lines == ["missing: cls.predictions.transform.dense.bias", "unexpected: bert.pooler.dense.weight"]
    table = weights["bert.embeddings.word_embeddings.weight"][:-8]
    lines = list(form.load(model, weights | {"bert.embeddings.word_embeddings.weight": table}))
    assert any(line.startswith("fewer rows: bert.embeddings.word_embeddings.weight has") for line in lines)
    with pytest.raises(CheckpointError, match="has neither model"):
        form.read(tmp_path)
    with pytest.raises(CheckpointError, match="model_type 't5' is none of"):
        config_options({"model_type": "t5"})


def test_names_of_old_files(build, tmp_path):
    """gamma and beta of TensorFlow's norms, buffers of positions, and a pickled state dict."""
    form, model = HfTextWeights(), model_of("bert", build)
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in form.write(model).items()}
    torch.save(old | {"bert.embeddings.position_ids": torch.arange(512)}, tmp_path / "pytorch_model.bin")
    again = build(recipe_of("bert"), seed=5)
    assert not list(form.load(again, form.read(tmp_path)))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_command_exports_the_format_of_the_networks_own_plugin(tmp_path):
    """Image and text both have 'hf'; a run of text gets text's, and its folder starts another run."""
    sizes = [f"networks.encoder.{key}={value}" for key, value in TINY.items()]
    flags = ["--steps", "1", "--workers", "0", "--device", "cpu", "train.val_samples=8", "data.batch_size=4",
             "schedule.warmup_steps=1", "data.decode.text.max_length=16", *sizes]
    out = tmp_path / "run"
    assert mmask("train", "--recipe", "bert-tiny", "--out", out, *flags) == 0
    made = export_run(out, "hf", tmp_path / "hf")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(made.files)
    assert made.printed.endswith("24)")
    same = ["--recipe", "bert-tiny", "tokenize.text.size=none", *sizes]
    assert mmask("import", tmp_path / "hf", "--format", "hf", "--out", tmp_path / "back", *same) == 0
    assert mmask("train", "--init", tmp_path / "hf", "--out", tmp_path / "more", *flags, *same) == 0


def test_the_vocabulary_frames_texts_and_pairs_there_as_here(tmp_path):
    from mmask_text.export.tokenizer import write_tokenizer

    vocabulary = open_vocabulary("english-8k")
    assert write_tokenizer(vocabulary, tmp_path, types=True)
    made = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert made.mask_token_id == vocabulary.mask_id
    pair = made("one two", "three")
    words = [vocabulary.encode(text) for text in ("one two", "three")]
    ids, _, types = vocabulary.frame(*words)
    assert pair["input_ids"] == ids.tolist()
    assert pair["token_type_ids"] == types.tolist()
    assert not write_tokenizer(open_vocabulary("bytes"), tmp_path / "bytes")
