"""Wav2Vec2Weights: checkpoints of wav2vec 2.0 from transformers, torchaudio and fairseq."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmask.api import CheckpointError, MaskedModel, read_tensors
from mmask_audio.wav2vec2.encoder import SpeechEncoder
from mmask_audio.wav2vec2.features import ConvFeatures
from mmask_audio.wav2vec2.names import PREFIX, canonical, official
from mmask_audio.wav2vec2.objective import CodeContrast


class Wav2Vec2Weights:
    """Reads (and gives back) the names of transformers' Wav2Vec2ForPreTraining.

    A folder of ``save_pretrained`` (Wav2Vec2ForPreTraining, Wav2Vec2Model or a fine-tuned model around it), or a file
    of tensors: safetensors, or a ``.pt``/``.bin``/``.pth`` that holds nothing but tensors and plain values, read
    without running code from it. Names of torchaudio's Wav2Vec2Model and of fairseq's are known too.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """transformers' name -> tensor, on the host. Raises CheckpointError for anything else than such a file."""
        return canonical(read_tensors(Path(path), inner=("model",)))

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a wav2vec 2.0 model, or into its encoder alone.

        Yields a line for every tensor missing or unexpected. Raises CheckpointError when the encoder finds nothing, or
        for a tensor of another shape, before anything is copied.
        """
        parts, weights = _parts(model), canonical(weights)
        wanted = {rename(name): value for part, rename in parts for name, value in part.state_dict().items()}
        fits = weights.keys() & wanted.keys()
        if not any(name.startswith(f"{PREFIX}encoder.") for name in fits):
            raise CheckpointError(
                f"none of the {len(weights)} tensors is of this encoder",
                hint="is it wav2vec 2.0, in the names of transformers, torchaudio or fairseq?",
            )
        for name in sorted(fits):
            if weights[name].shape != wanted[name].shape:
                theirs, ours = tuple(weights[name].shape), tuple(wanted[name].shape)
                raise CheckpointError(
                    f"{name} is {theirs} in the checkpoint, {ours} in the model",
                    hint="build the model at the checkpoint's widths, kernels and codebooks",
                )
        for part, rename in parts:
            own = {name: weights[rename(name)] for name in part.state_dict() if rename(name) in fits}
            part.load_state_dict(own, strict=False)
        yield from (f"missing: {name}" for name in wanted if name not in fits)
        yield from (f"unexpected: {name}" for name in weights if name not in fits)

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under transformers' names."""
        return {rename(name): value for part, rename in _parts(model) for name, value in part.state_dict().items()}

    @staticmethod
    def gradients(model: nn.Module) -> dict[str, Tensor | None]:
        """The parameters' gradients under transformers' names."""
        return {rename(name): p.grad for part, rename in _parts(model) for name, p in part.named_parameters()}


def contrast_of(model: MaskedModel) -> CodeContrast | None:
    """The model's objective that has the quantizer, or None."""
    found = [one for one in model.objectives.values() if isinstance(one, CodeContrast)]
    return found[0] if found else None


def front_of(model: MaskedModel) -> ConvFeatures:
    """The model's convolutions. Raises CheckpointError for a model that has none."""
    found = [one for one in model.tokenizers.values() if isinstance(one, ConvFeatures)]
    if len(found) != 1:
        raise CheckpointError("this model does not start with the convolutions of wav2vec 2.0")
    return found[0]


def _parts(model: nn.Module) -> list[tuple[nn.Module, Callable[[str], str]]]:
    """(module, its names -> transformers')."""
    if isinstance(model, SpeechEncoder):
        return [(model, official)]
    if not isinstance(model, MaskedModel) or not isinstance(model.encoder, SpeechEncoder):
        raise CheckpointError("these weights are for wav2vec 2.0, which this model is not")
    parts: list[tuple[nn.Module, Callable[[str], str]]] = [
        (front_of(model), f"{PREFIX}feature_extractor.{{}}".format), (model.encoder, official)
    ]
    contrast = contrast_of(model)
    if contrast is not None:
        target: Any = contrast.target
        head: Any = contrast.head
        parts += [
            (target.quantizer, "quantizer.{}".format), (target.project, "project_q.{}".format),
            (head.proj, "project_hid.{}".format),
        ]
    return parts
