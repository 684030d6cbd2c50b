"""open-clip: a configuration and a checkpoint that open_clip itself loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import Batch, ExportError, Recipe, unpatchify
from mmask_vl.contrast import Contrast
from mmask_vl.open_clip_encoder import OpenClipEncoder

_NAME = "mmask-clip"
_SNIPPET = f'''\
import open_clip
import torch

open_clip.add_model_config("{_NAME}.json")
model = open_clip.create_model("{_NAME}", pretrained="open_clip_model.safetensors").eval()
pictures = torch.randn(2, 3, *model.visual.image_size)
print(tuple(model.encode_image(pictures, normalize=True).shape))
'''


class OpenClipExporter:
    """``mmask-clip.json``, open_clip's configuration, and ``open_clip_model.safetensors``; its scale is that of the
    run's contrastive objective. Compared are the vectors of pictures and of texts, in float32."""

    needs: tuple[str, ...] = ("open_clip",)
    extra = "mmask-vl[open-clip]"
    dtype = "float32"
    tolerance = 1e-5

    def write(self, model: Any, recipe: Recipe, folder: Path) -> str:
        """Raises ExportError for a network that is no `OpenClipEncoder`."""
        from safetensors.torch import save_file

        encoder = _encoder(model)
        tensors = {name: value.detach().to("cpu", torch.float32).clone().contiguous()
                   for name, value in encoder.clip.state_dict().items()}
        scales = [one.loss.scale for one in model.objectives.values() if isinstance(one, Contrast)]
        if scales:
            tensors["logit_scale"] = scales[0].detach().cpu().float().reshape(tensors["logit_scale"].shape).clone()
        save_file(tensors, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
        (folder / f"{_NAME}.json").write_text(json.dumps(encoder.config, indent=2) + "\n", encoding="utf-8")
        return _SNIPPET

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``image`` (B, 3, H, W), normalised, and ``text`` (B, length) ids."""
        encoder = _encoder(model)
        view = model.scene(batch, {}).view("clean")
        image, text = view.tokens[encoder.image], view.tokens[encoder.text]
        patches = encoder.patches
        pixels = unpatchify(image.values, patches.grid, patches.patch, patches.in_chans)
        ids = torch.nn.functional.pad(text.ids, (0, encoder.length - text.ids.shape[1]), value=encoder.pad)
        return {"image": pixels, "text": ids}

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Vectors of the run's network."""
        encoder = _encoder(model)
        fields = {encoder.image: inputs["image"], encoder.text: inputs["text"]}
        rows = torch.arange(len(inputs["text"])).numpy()
        encoded = model.scene(Batch(fields, rows.astype("uint64"), rows * 0), {}).encode(model.exports, "clean")
        return {name: encoded.stream(name).pooled for name in (encoder.image, encoder.text)}

    def theirs(self, loaded: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of open_clip's model."""
        model = loaded["model"]
        with torch.inference_mode():
            return {"image": model.encode_image(inputs["image"]), "text": model.encode_text(inputs["text"])}


def _encoder(model: Any) -> OpenClipEncoder:
    if not isinstance(model.encoder, OpenClipEncoder):
        raise ExportError(f"this format holds models of open_clip, not a {type(model.encoder).__name__}",
                          hint="use --format safetensors")
    if len(model.encoder.sides) < 2:
        raise ExportError("the network is one side of a model of open_clip alone", hint="use --format safetensors")
    return model.encoder
