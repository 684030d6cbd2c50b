"""Checkpoints of the reference: what is read, renamed, reported and refused."""

from __future__ import annotations

from argparse import Namespace

import pytest
import timm
import torch

from mmask.api import CheckpointError
from mmask_image.recipes.spark import spark
from mmask_image.spark.weights import SparkWeights

SIZES = {"channels": (4, 6, 8, 10), "layers": (1, 1, 1, 1)}
DIMS = {"depths": (1, 1, 1, 1), "dims": (4, 6, 8, 10)}


def recipe(net="resnet18", options=SIZES, **more):
    norm = "bn" if "resnet" in net else "ln"
    return spark("", "", net=net, norm=norm, beta2=0.95, drop_path=0.0, image_size=64, width=32,
                 network={"options": options}, **more)


@pytest.mark.parametrize(("net", "options"), [("resnet18", SIZES), ("convnext_tiny", DIMS)])
def test_weights_survive_the_official_names_and_a_file(net, options, build, tmp_path):
    one, two = build(recipe(net, options), seed=1), build(recipe(net, options), seed=2)
    official = SparkWeights().write(one)
    assert "mask_tokens.0" in official
    assert "dense_decoder.dec.4.conv.4.running_var" in official
    path = tmp_path / "model_withdecoder_1kpretrained_spark_style.pth"
    torch.save({"module": {**official, "config": {"mask_ratio": 0.6}}, "args": Namespace(ep=1), "epoch": 3}, path)
    assert not list(SparkWeights().load(two, SparkWeights().read(path)))
    for name, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], value), name


def test_an_encoder_alone_is_loaded_and_the_decoder_reported(build, tmp_path):
    model = build(recipe())
    dense = timm.create_model("resnet18", num_classes=0, **SIZES)
    path = tmp_path / "resnet_timm_style.pth"
    torch.save(dense.state_dict(), path)
    lines = list(SparkWeights().load(model, SparkWeights().read(path)))
    assert lines == ["missing: the decoder (the checkpoint is of an encoder alone)"]
    assert torch.equal(model.encoder.net.conv1.weight, dense.conv1.weight)


def test_both_libraries_convnexts_have_the_same_official_names():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    from mmask_image.spark.adapter import SparseNet

    settings = [CNBlockConfig(a, b, 1) for a, b in ((4, 6), (6, 8), (8, 10), (10, None))]
    both = {}
    for source, net in (
        ("timm", timm.create_model("convnext_tiny", num_classes=0, **DIMS)),
        ("torchvision", ConvNeXt(settings, num_classes=3)),
    ):
        sparse = SparseNet(net)
        both[source] = {name.removeprefix("sparse_encoder.sp_cnn."): tuple(value.flatten().shape)
                        for name, value in SparkWeights().write(sparse).items()}
        fresh = SparseNet(type(net)(settings, num_classes=3) if source == "torchvision" else
                          timm.create_model("convnext_tiny", num_classes=0, **DIMS))
        assert not list(SparkWeights().load(fresh, SparkWeights().write(sparse)))
        used = set(net.state_dict()) - set(sparse.idle())
        assert all(torch.equal(fresh.net.state_dict()[name], net.state_dict()[name]) for name in used)
    assert both["timm"] == both["torchvision"]
    assert "stages.3.0.gamma" in both["timm"]


def test_missing_unexpected_and_misshapen_tensors_are_named(build):
    model = build(recipe())
    weights = SparkWeights().write(model)
    del weights["dense_decoder.proj.bias"]
    weights["sparse_encoder.sp_cnn.fc.weight"] = torch.zeros(2, 10)
    lines = list(SparkWeights().load(model, weights))
    assert lines == ["unexpected: encoder fc.weight", "missing: decoder decoder.proj.bias"]
    weights["sparse_encoder.sp_cnn.conv1.weight"] = torch.zeros(64, 3, 3, 3)
    with pytest.raises(CheckpointError, match=r"conv1.weight is \(64, 3, 3, 3\), the model has \(64, 3, 7, 7\)"):
        list(SparkWeights().load(model, weights))


def test_a_file_that_holds_more_than_tensors_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = tmp_path / "bad.pth"
    torch.save({"module": {"a": torch.zeros(1)}, "trap": Trap()}, path)
    (tmp_path / "sprung").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="tensors alone"):
        SparkWeights().read(path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        SparkWeights().read(tmp_path / "nowhere.pth")
