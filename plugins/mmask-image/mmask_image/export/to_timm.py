"""timm: a folder that ``timm.create_model("local-dir:...", pretrained=True)`` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import ExportError, Recipe
from mmask_image.export.dense import Dense, dense_of
from mmask_image.export.pictures import PictureExporter, blank, numbers, put, tokenizer_of

_EPS = 1e-6  # of every norm that timm's ViTs make; its config has no word for another
_SNIPPET = '''\
import timm
import torch

model = timm.create_model("local-dir:.", pretrained=True).eval()
{image}
features = model.forward_features(image)
print(tuple(features.shape))
'''
_CHANGED = '''\
import timm
import torch
from safetensors.torch import load_file

model = timm.create_model("{name}", num_classes=0{args})
{change}model.load_state_dict(load_file("model.safetensors"))
model.eval()
{image}
features = model.forward_features(image)
print(tuple(features.shape))
'''


class TimmExporter(PictureExporter):
    """``model.safetensors`` and ``config.json`` in the layout of timm's own hub folders.

    The config says how pictures are normalised (``timm.data.resolve_model_data_config``). Pass
    ``num_classes=N`` to ``create_model`` to add a classifier.
    """

    needs = ("timm",)

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for a network of another library, or norms timm cannot make."""
        dense = dense_of(model)
        if dense.library != "timm":
            raise ExportError(f"the encoder is {dense.library}'s {dense.name}", hint=f"use --format {dense.library}")
        if dense.vit is not None and dense.vit.eps != _EPS:
            raise ExportError(
                f"timm's ViTs have norms of eps {_EPS}, this one {dense.vit.eps}", hint="use --format hf or onnx"
            )
        put(dense.weights, folder)
        if dense.change:  # no config can say it, so there is none
            args = "".join(f", {name}={value!r}" for name, value in dense.args.items())
            return _CHANGED.format(name=dense.name, args=args, change=dense.change, image=blank(model))
        config = json.dumps(_config(dense, tokenizer_of(model)), indent=2)
        (folder / "config.json").write_text(config + "\n", encoding="utf-8")
        return _SNIPPET.format(image=blank(model))

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's ``forward_features``."""
        with torch.inference_mode():
            return {"features": loaded["model"].to(inputs["image"].dtype).forward_features(inputs["image"])}


def _config(dense: Dense, tokenizer: Any) -> dict[str, Any]:
    module: Any = dense.module
    known = getattr(module, "pretrained_cfg", None) or {}
    return {
        "architecture": dense.name,
        "num_classes": 0,
        "num_features": int(module.num_features),
        **({"global_pool": dense.args["global_pool"]} if "global_pool" in dense.args else {}),
        "model_args": {"num_classes": 0, **dense.args},
        "pretrained_cfg": {
            "input_size": [tokenizer.in_chans, *tokenizer.image_size],
            "fixed_input_size": dense.fixed,
            "num_classes": 0,
            "classifier": known.get("classifier", "head"),
            "first_conv": known.get("first_conv", "patch_embed.proj"),
            "mean": numbers(tokenizer.mean),
            "std": numbers(tokenizer.std),
            "interpolation": "bicubic",
            "crop_pct": 0.875,
        },
    }
