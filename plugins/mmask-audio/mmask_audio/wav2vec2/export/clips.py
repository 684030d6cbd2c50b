"""What exporters of wav2vec 2.0 share: clips in, states out, and the sizes that other libraries ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmask.api import Batch, CheckpointError, ExportError, Recipe
from mmask_audio.wav2vec2.features import ConvFeatures
from mmask_audio.wav2vec2.weights import Wav2Vec2Weights, front_of


class ClipExporter:
    """Both sides are run on the same clips, in float64: there anything beyond rounding is a fault.

    Every second clip is cut short and padded with zeros, so that padding is compared too; not where the run's group
    norm leaves padding out (``over=own``), which other libraries cannot.
    """

    needs: tuple[str, ...] = ()
    extra = "mmask-audio[hf]"
    dtype = "float64"
    tolerance = 1e-9

    def inputs(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """``audio`` (B, S) and ``length`` (B,)."""
        front = convolutions(model)
        audio = batch[front.field].clone()
        most = audio.shape[1]
        named = batch.fields.get(f"{front.field}.length")
        length = torch.full((len(audio),), most) if named is None else named.cpu().clone()
        if front.norm == "group" and front.over == "own":
            short = int(length.min())
            return {"audio": audio[:, :short], "length": torch.full((len(audio),), short)}
        length[1::2] = torch.maximum(length[1::2] * 3 // 4, torch.tensor(front.arithmetic.receptive)).clamp_max(most)
        audio[torch.arange(most)[None] >= length[:, None].to(audio.device)] = 0
        return {"audio": audio, "length": length}

    def ours(self, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``features`` (T, D): the encoder's states at every real frame, with nothing hidden."""
        encoded = model.scene(as_batch(model, inputs), {}).encode(model.exports, "clean")
        return {"features": encoded.state[encoded.layout.maskable()]}


def convolutions(model: Any) -> ConvFeatures:
    """The model's front end. Raises ExportError for another kind of model."""
    try:
        return front_of(model)
    except CheckpointError as error:
        raise ExportError(error.message, hint="use --format safetensors") from error


def as_batch(model: Any, inputs: Mapping[str, Tensor]) -> Batch:
    """Clips as samples 0, 1, ..."""
    ids = torch.arange(len(inputs["audio"])).numpy()
    field = convolutions(model).field
    return Batch({field: inputs["audio"], f"{field}.length": inputs["length"]}, ids.astype("uint64"), ids * 0)


def official_weights(model: Any) -> dict[str, Tensor]:
    """Everything under transformers' names. Raises ExportError for another kind of model."""
    try:
        return Wav2Vec2Weights().write(model)
    except CheckpointError as error:
        raise ExportError(error.message, hint="use --format safetensors") from error


def put(weights: Mapping[str, Tensor], folder: Path) -> None:
    """``model.safetensors``: float32, every tensor on its own."""
    from safetensors.torch import save_file

    ready = {name: value.detach().float().cpu().clone().contiguous() for name, value in weights.items()}
    save_file(ready, folder / "model.safetensors", metadata={"format": "pt"})


def reading(recipe: Recipe) -> tuple[int, bool]:
    """(samples a second, whether clips are normalised) of the recipe's decoder."""
    options = next((spec.options() for spec in recipe.data.decode.values()), {})
    return int(options.get("rate", 16_000)), bool(options.get("normalize", False))
