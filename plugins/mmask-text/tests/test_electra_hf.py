"""ELECTRA and transformers: its classes agree with ours in every combination of widths, and go both ways."""

from __future__ import annotations

import json
import runpy
from typing import Any

import pytest
import torch

from mmask.api import CheckpointError, ExportError, NetworkSection, use
from mmask.testing import compared, mmask
from mmask_text.export.to_hf import HfTextExporter
from mmask_text.recipes.electra import electra_tiny
from mmask_text.weights.configs import config_options
from mmask_text.weights.electra import ElectraWeights
from mmask_text.weights.hf import HfTextWeights

transformers = pytest.importorskip("transformers")

WIDTHS = {"neither": (12, 24, 8), "encoder's": (24, 24, 8), "generator's": (8, 24, 8), "all": (24, 24, 24)}


def recipe_of(embed: int = 12, wide: int = 24, narrow: int = 8, *, exports: str = "encoder", share: bool = True) -> Any:
    made = electra_tiny()
    made.preview, made.exports = None, exports
    made.tokenize["text"] = use("ids")
    for name, width in (("encoder", wide), ("generator", narrow)):
        section = made.networks[name].model_dump() | {"width": width, "depth": 2, "heads": 4, "hidden": 2 * width}
        section |= {"embed_width": embed}
        if not share:
            section.pop("share", None)
        made.networks[name] = NetworkSection.model_validate(section)
    return made


def shaken(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.mark.parametrize("exports", ["encoder", "generator"])
@pytest.mark.parametrize("whole", [False, True], ids=["bare", "whole"])
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_what_is_written_agrees_there(widths, whole, exports, build, texts, tmp_path, monkeypatch):
    recipe = recipe_of(*widths, exports=exports)
    model, exporter = shaken(build(recipe)), HfTextExporter(whole=whole)
    (tmp_path / "load.py").write_text(exporter.write(model, recipe, tmp_path))
    monkeypatch.chdir(tmp_path)
    loaded = runpy.run_path("load.py")
    inputs = exporter.inputs(model, texts(7, 24, 12, size=900))
    ours, theirs = exporter.ours(model.double(), inputs), exporter.theirs(loaded, inputs)
    found = compared(ours, theirs, exporter.tolerance)
    kind = {"encoder": "ElectraForPreTraining", "generator": "ElectraForMaskedLM"}[exports] if whole else "ElectraModel"
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [kind]
    assert {one.name for one in found} == {"logits" if whole else "states", "text"}
    made = config_options(json.loads((tmp_path / "config.json").read_text()))
    assert made.encoder["embed_width"] == widths[0]


def test_the_command_exports_either_network(tmp_path):
    sizes = [f"networks.{name}.{key}={value}" for name, width in (("encoder", 16), ("generator", 8))
             for key, value in (("width", width), ("depth", 1), ("heads", 2))]
    assert mmask(
        "train", "--recipe", "electra-tiny", "--out", tmp_path / "run", "--steps", 2, "--workers", 0, "--device", "cpu",
        "--batch-size", 4, "train.val_samples=4", "data.pack.window=8", "data.streams=2", *sizes,
        "networks.encoder.embed_width=16",
    ) == 0
    for network, width in (("encoder", 16), ("generator", 8)):
        out = tmp_path / network
        flags = ["--format", "hf", "--network", network, "--out", out, "whole=true"]
        assert mmask("export", tmp_path / "run", *flags) == 0
        assert json.loads((out / "config.json").read_text())["hidden_size"] == width
        assert json.loads((out / "export.json").read_text())["network"] == network


def published(kind: str, **options: Any) -> dict[str, torch.Tensor]:
    config = transformers.ElectraConfig(
        vocab_size=options.pop("size", 8192), embedding_size=12, num_hidden_layers=2, num_attention_heads=4, **options
    )
    return {name: value.clone() for name, value in getattr(transformers, kind)(config).state_dict().items()
            if not name.endswith("position_ids")}


@pytest.fixture(name="size")
def size_():
    from mmask_text.vocabulary import open_vocabulary

    return open_vocabulary("english-8k").size


def test_published_networks_come_in_alone_and_together(build, size):
    big = published("ElectraForPreTraining", size=size, hidden_size=24, intermediate_size=48)
    small = published("ElectraForMaskedLM", size=size, hidden_size=8, intermediate_size=16)
    form, model = ElectraWeights(), build(recipe_of())
    assert not list(form.load(model, big))
    assert all(torch.equal(value, big[name]) for name, value in form.write(model).items())
    assert not list(form.load(build(recipe_of()), small))
    both = {f"discriminator.{n}": v for n, v in big.items()} | {f"generator.{n}": v for n, v in small.items()}
    lines = list(form.load(model, both))
    assert lines and all(line.startswith("not taken: the generator's own electra.embeddings.") for line in lines)
    table = "electra.embeddings.word_embeddings.weight"
    assert torch.equal(model.network("generator").embed.words.weight, big[table])
    apart = build(recipe_of(share=False))
    assert not list(form.load(apart, both))
    assert torch.equal(apart.network("generator").embed.words.weight, small[table])
    assert torch.equal(apart.encoder.embed.words.weight, big[table])


def test_an_encoder_alone_takes_a_bare_model_and_a_discriminator(build, size):
    bare = published("ElectraModel", size=size, hidden_size=24, intermediate_size=48)
    model = build(recipe_of())
    assert not list(HfTextWeights().load(model.encoder, bare))
    assert torch.equal(model.encoder.project.weight, bare["embeddings_project.weight"])
    big = published("ElectraForPreTraining", size=size, hidden_size=24, intermediate_size=48)
    lines = list(ElectraWeights().load(model.encoder, big))
    assert lines == [f"unexpected: {name}" for name in big if name.startswith("discriminator_predictions.")]


def test_what_does_not_fit_says_why(build, size):
    model = build(recipe_of())
    with pytest.raises(CheckpointError, match="none of the tensors has a name of ELECTRA's"):
        list(ElectraWeights().load(model, {"bert.embeddings.word_embeddings.weight": torch.zeros(3, 3)}))
    big = published("ElectraForPreTraining", size=size, hidden_size=24, intermediate_size=48)
    big["discriminator_predictions.dense.weight"] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError, match=r"discriminator_predictions.dense.weight is \(3, 3\)"):
        list(ElectraWeights().load(model, big))
    with pytest.raises(CheckpointError, match="no generator"):
        ElectraWeights.official(model.encoder, "generator")
    model.encoder.parts = type(model.encoder.parts)(width=24, heads=4, hidden=48, norm="pre")
    with pytest.raises(ExportError, match="cannot hold this encoder: it has layers of another kind"):
        HfTextExporter().write(model, None, None)
