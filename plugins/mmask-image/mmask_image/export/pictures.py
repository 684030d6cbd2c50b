"""PictureExporter: what all exporters here share: normalised pictures in, feature maps or states out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import Batch, ExportError, unpatchify
from mmask_image.export.dense import dense_of


class PictureExporter:
    """Both sides are run on the same normalised pictures, in float64 where the library can: there anything
    beyond rounding is a fault, so that another GELU or another eps of a norm cannot hide in float32 noise."""

    needs: tuple[str, ...] = ()
    extra = ""
    dtype = "float64"
    tolerance = 1e-9

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``image`` (B, C, H, W), normalised."""
        tokenizer = tokenizer_of(model)
        image = batch[tokenizer.field]
        if not image.is_floating_point():
            image = unpatchify(tokenizer(batch).values, tokenizer.grid, tokenizer.patch, tokenizer.in_chans)
        return {"image": image}

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``features``: the encoder's states, prefix first, or its coarsest map, with nothing hidden; or what the
        encoder itself says that the library answers."""
        encoded = encode(model, inputs["image"])
        answer = dense_of(model).answer
        if answer is not None:
            return {"features": answer(encoded)}
        return {"features": encoded.pyramid[-1] if encoded.pyramid else encoded.state}


def tokenizer_of(model: Any) -> Any:
    """The one tokenizer, of pictures. Raises ExportError for a model of something else."""
    found = list(model.tokenizers.values())
    if len(found) != 1 or not all(hasattr(found[0], name) for name in ("patch", "grid", "in_chans", "field")):
        raise ExportError(
            "this format holds encoders of one stream of pictures", hint="use --format safetensors"
        )
    return found[0]


def encode(model: Any, image: Tensor) -> Any:
    """The exported network's `Encoded` of normalised pictures."""
    return model.scene(as_batch(model, image), {}).encode(model.exports, "clean")


def as_batch(model: Any, image: Tensor) -> Batch:
    """Pictures as samples 0, 1, ..."""
    ids = torch.arange(len(image)).numpy()
    return Batch({tokenizer_of(model).field: image}, ids.astype("uint64"), ids * 0)


def put(weights: Mapping[str, Tensor], folder: Path) -> None:
    """``model.safetensors``: float32, every tensor on its own."""
    from safetensors.torch import save_file

    ready = {
        name: (value.float() if value.is_floating_point() else value).detach().cpu().clone().contiguous()
        for name, value in weights.items()
    }
    save_file(ready, folder / "model.safetensors", metadata={"format": "pt"})


def blank(model: Any) -> str:
    """Code for a picture of the right shape."""
    tokenizer = tokenizer_of(model)
    high, wide = tokenizer.image_size
    return f"image = torch.zeros(1, {tokenizer.in_chans}, {high}, {wide})  # pixels / 255, minus mean, over std"


def numbers(values: Any) -> list[float]:
    """Mean or std as JSON has it."""
    return [float(value) for value in values]
