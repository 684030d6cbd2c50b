"""OpenClipEncoder: a model of open_clip as a network of two streams that never meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Encoded, PlanError, RecipeError, Tokens, View, did_you_mean, read_tensors, unpatchify


class OpenClipEncoder(nn.Module):
    """Pictures through the one tower and texts through the other, both into one space.

    model: a configuration of open_clip by name ("ViT-B-32"); empty for one of ``vision`` and ``words``, open_clip's own
    ``vision_cfg`` and ``text_cfg``, and ``dim``, the space's size. What the tokenizers know is filled in: sides of
    pictures and patches, size of the vocabulary, and where a text ends. weights: a local file of its state dict
    (``.pt``, ``.safetensors``); random without one. Nothing is downloaded. image, text: names of the streams.
    tokenizers (wired): ``patch`` normalised as the model wants it, and ``ids``.

    With ``frozen = true`` it is a teacher: streams hold the vectors that a target or the objective ``contrast`` reads.
    """

    prefix = 0

    def __init__(
        self, *, tokenizers: Mapping[str, Any], model: str = "", dim: int = 512, vision: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None, weights: str = "", image: str = "image", text: str = "text",
    ) -> None:
        super().__init__()
        try:
            import open_clip
        except ImportError as error:
            hint = "pip install 'mmask-vl[open-clip]'"
            raise RecipeError("encoder 'open-clip' needs open_clip", hint=hint) from error
        self.image, self.text, self.sides = image, text, (text, image)
        self.patches, own = tokenizers[image], tokenizers[text]
        if model:
            known = open_clip.list_models()
            if model not in known:
                raise RecipeError(f"open_clip has no model '{model}'{did_you_mean(model, known)}")
            self.config: dict[str, Any] = dict(open_clip.get_model_config(model))
        else:
            end = {"pool_type": "eos", "eos_id": own.vocabulary.sep_id}
            seen = {"image_size": self.patches.image_size[0], "patch_size": self.patches.patch[0]}
            read = {"vocab_size": own.size, "pad_id": own.pad_id or 0, **end}
            self.config = {"embed_dim": dim, "vision_cfg": {**seen, **(vision or {})},
                           "text_cfg": {**read, **(words or {})}}
        _check(self.config, self.patches, own)
        custom = {"hf_model_name", "timm_model_name"} & {*self.config["text_cfg"], *self.config["vision_cfg"]}
        kind = open_clip.CustomTextCLIP if custom or self.config.pop("custom_text", False) else open_clip.CLIP
        self.clip = kind(**self.config)
        self.width = int(self.config["embed_dim"])
        self.length = int(self.config["text_cfg"].get("context_length", 77))
        self.pad = own.pad_id or 0
        self.clip.logit_scale.requires_grad_(False)  # the objective has its own
        if weights and not self.clip.logit_scale.is_meta:
            _load(self.clip, Path(weights))

    def pictures(self, tokens: Tokens) -> Tensor:
        """(B, width)."""
        if tokens.values is None or tokens.layout.index is not None:
            raise PlanError("open_clip's models take whole pictures: hide cells with a mask token, or nothing")
        pixels = unpatchify(tokens.values, self.patches.grid, self.patches.patch, self.patches.in_chans)
        made: Tensor = self.clip.encode_image(pixels.to(self._kind()))
        return made

    def texts(self, tokens: Tokens) -> Tensor:
        """(B, width). Longer texts than the model reads are refused."""
        ids = tokens.ids
        if ids is None or tokens.flat or ids.shape[1] > self.length:
            raise PlanError(f"open_clip's models take padded ids of at most {self.length} places",
                            hint="set data.decode.text.max_length")
        made: Tensor = self.clip.encode_text(nn.functional.pad(ids, (0, self.length - ids.shape[1]), value=self.pad))
        return made

    def units(self) -> list[nn.Module]:
        """The blocks of both towers, where open_clip calls them so."""
        return [block for module in self.clip.modules() for block in getattr(module, "resblocks", ())]

    def forward(self, view: View, *, taps: Sequence[str] = ()) -> Encoded:
        """Streams ``image`` and ``text``, of each the vector ``pooled`` (B, width); that of pictures is the network's
        own. No taps."""
        if taps:
            raise PlanError(f"encoder 'open-clip' has no tap '{taps[0]}'")
        image, text = view.tokens[self.image], view.tokens[self.text]
        seen = self.pictures(image)
        streams = {
            self.image: Encoded(image.layout, pooled=seen), self.text: Encoded(text.layout, pooled=self.texts(text)),
        }
        return Encoded(image.layout, pooled=seen, streams=streams)

    def _kind(self) -> torch.dtype:
        return next(p.dtype for p in self.clip.visual.parameters() if p.is_floating_point())


def _check(config: Mapping[str, Any], patches: Any, words: Any) -> None:
    """Raises RecipeError where the tokenizers do not fit the configuration."""
    side, read = config["vision_cfg"].get("image_size", 224), config["text_cfg"].get("vocab_size", 49408)
    side = tuple(side) if isinstance(side, Sequence) else (side, side)
    if tuple(patches.image_size) != side:
        raise RecipeError(f"the model sees pictures of {side}, the tokenizer makes {tuple(patches.image_size)}",
                          hint="set tokenize.image.image_size and data.decode.image.size")
    if words.vocabulary.sep_id is None or words.vocabulary.sep_id >= read:
        raise RecipeError(f"the vocabulary does not end texts with one of the model's {read:,} ids",
                          hint="open_clip's named models read the vocabulary 'open_clip'")


def _load(clip: nn.Module, path: Path) -> None:
    tensors = read_tensors(path, inner=("state_dict", "model"))
    made = {name.removeprefix("module."): value for name, value in tensors.items()}
    try:
        clip.load_state_dict(made)
    except RuntimeError as error:
        raise RecipeError(f"the weights of {path} do not fit the model: {str(error)[:300]}") from error
