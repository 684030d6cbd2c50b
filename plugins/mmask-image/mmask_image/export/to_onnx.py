"""onnx: one graph, picture in, features out, for onnxruntime and everything else that reads ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Recipe
from mmask_image.export.dense import Dense, dense_of
from mmask_image.export.pictures import PictureExporter, blank

_SINGLE = 1 << 30  # bytes of weights; above it they go beside the graph, since one message ends at 2 GiB
_SNIPPET = '''\
import onnxruntime
import torch

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
{image}
(features,) = session.run(None, {{"image": image.numpy()}})
print(features.shape)
'''


class OnnxExporter(PictureExporter):
    """``model.onnx``: ``image`` (batch, C, H, W) float32 -> ``features``. The batch is free, the picture fixed.

    opset: the version of the operators.
    """

    needs = ("onnx", "onnxscript", "onnxruntime")
    extra = "mmask-image[onnx]"
    dtype = "float32"  # the graph's own type, so rounding shows
    tolerance = 1e-5

    def __init__(self, *, opset: int = 18) -> None:
        self.opset = opset

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Traces the plain network."""
        dense = dense_of(model)
        image = next(iter(model.tokenizers.values())).example(2)
        loud = logging.getLogger("torch.onnx")
        before = loud.level
        loud.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    _Features(dense).eval(), (next(iter(image.values())),), folder / "model.onnx",
                    input_names=["image"], output_names=["features"], opset_version=self.opset, dynamo=True,
                    dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), verbose=False,
                    external_data=sum(v.numel() * 4 for v in dense.weights.values()) > _SINGLE,
                )
        finally:
            loud.setLevel(before)
        return _SNIPPET.format(image=blank(model))

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What onnxruntime computes."""
        (features,) = loaded["session"].run(None, {"image": inputs["image"].numpy()})
        return {"features": torch.from_numpy(features)}


class _Features(nn.Module):
    def __init__(self, dense: Dense) -> None:
        super().__init__()
        self.module, self.features = dense.module, dense.features

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)
