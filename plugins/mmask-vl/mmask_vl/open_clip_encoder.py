"""OpenClipEncoder: a model of open_clip as a network of two streams that never meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmask.api import Encoded, PlanError, RecipeError, Tokens, View, did_you_mean, unpatchify
from mmask_vl.open_clip_files import configuration, load

_OF_TEXTS = ("text", "transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


class OpenClipEncoder(nn.Module):
    """Pictures through the one tower and texts through the other, both into one space.

    model: a configuration of open_clip by name ("ViT-B-32"), or the path of one in JSON or of a folder with one (see
    `open_clip_files.configuration`); empty for one of ``vision`` and ``words``, open_clip's own ``vision_cfg`` and
    ``text_cfg``, and ``dim``, the space's size. What the tokenizers know is filled in: sides of pictures and patches,
    size of the vocabulary, and where a text ends. weights: a local file of its state dict (``.pt``, ``.safetensors``);
    by default those beside the configuration in a folder; random without. Nothing is downloaded.
    image, text: names of the streams; "" leaves that side out, and its tower.
    places: whether the patches of a picture have states too, those of the last layer brought into the shared space, as
    EVA (Fang et al. 2022) takes them for targets. open_clip's own ViT with a [CLS] state has them.
    tokenizers (wired): ``patch`` normalised as the model wants it, and ``ids``.

    Streams never meet (``apart``), so a view of one of them is enough to know that one.
    With ``frozen = true`` it is a teacher: target ``latents`` reads its places, objective ``contrast`` its vectors.
    """

    prefix = 0
    apart = True

    def __init__(
        self, *, tokenizers: Mapping[str, Any], model: str = "", dim: int = 512, vision: dict[str, Any] | None = None,
        words: dict[str, Any] | None = None, weights: str = "", image: str = "image", text: str = "text",
        places: bool = False,
    ) -> None:
        super().__init__()
        self.image, self.text, self.places = image, text, places
        self.sides = tuple(side for side in (text, image) if side)
        if not self.sides or not (model or (image and text)):
            raise RecipeError("encoder 'open-clip' has an image and a text side; one may be left out, where 'model' "
                              "says what the model is")
        self.patches, own = (_tokenizer(tokenizers, side) for side in (image, text))
        beside = ""
        if model:
            self.config, beside = configuration(model)
        else:
            self.config = _configured(dim, vision or {}, words or {}, self.patches, own)
        _check(self.config, self.patches, own)
        self.clip = _made(self.config)
        self.width = int(self.config["embed_dim"])
        self.length = int(self.config["text_cfg"].get("context_length", 77))
        self.pad = (own.pad_id or 0) if text else 0
        self.clip.logit_scale.requires_grad_(False)  # the objective has its own
        if (weights or beside) and not self.clip.logit_scale.is_meta:
            load(self.clip, Path(weights or beside))
        _leave_out(self.clip, [] if text else _OF_TEXTS, [] if image else ["visual"])
        if places:
            _check_places(self.clip.visual, self.patches)

    def pictures(self, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
        """(B, width), and (B, N, width) of the patches where they have states."""
        if tokens.values is None or tokens.layout.index is not None:
            raise PlanError("open_clip's models take whole pictures: hide cells with a mask token, or nothing")
        pixels = unpatchify(tokens.values, self.patches.grid, self.patches.patch, self.patches.in_chans)
        pixels = pixels.to(self._kind())
        if not self.places:
            return self.clip.encode_image(pixels), None
        visual = self.clip.visual
        made = visual.forward_intermediates(pixels, indices=1, normalize_intermediates=True, output_fmt="NLC")
        states = made["image_intermediates"][0]
        return made["image_features"], states if visual.proj is None else states @ visual.proj

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
        """Streams ``image`` and ``text``, those that the view has, of each the vector ``pooled`` (B, width), and with
        ``places`` the picture's state (B, N, width); the network's own are those of the picture, if it sees one. No
        taps."""
        if taps:
            raise PlanError(f"encoder 'open-clip' has no tap '{taps[0]}'")
        streams = {}
        if self.image in view.tokens:
            tokens = view.tokens[self.image]
            pooled, states = self.pictures(tokens)
            streams[self.image] = Encoded(tokens.layout, states, pooled=pooled)
        if self.text in view.tokens:
            words = view.tokens[self.text]
            streams[self.text] = Encoded(words.layout, pooled=self.texts(words))
        if not streams:
            raise PlanError(f"view '{view.name}' has none of the streams {self.sides} that open_clip's model sees")
        own = next(iter(streams.values()))
        return Encoded(own.layout, own.state, pooled=own.pooled, streams=streams)

    def _kind(self) -> torch.dtype:
        return next(p.dtype for p in self.clip.visual.parameters() if p.is_floating_point())


def _tokenizer(tokenizers: Mapping[str, Any], stream: str) -> Any:
    if not stream:
        return None
    if stream not in tokenizers:
        raise RecipeError(f"encoder 'open-clip' needs the stream '{stream}'{did_you_mean(stream, tokenizers)}",
                          hint="name the stream of that side, or leave the side out with an empty name")
    return tokenizers[stream]


def _configured(
    dim: int, vision: Mapping[str, Any], words: Mapping[str, Any], patches: Any, own: Any
) -> dict[str, Any]:
    """open_clip's configuration, with what the tokenizers know filled in."""
    seen = {"image_size": patches.image_size[0], "patch_size": patches.patch[0]}
    end = {"pool_type": "eos", "eos_id": own.vocabulary.sep_id}
    read = {"vocab_size": own.size, "pad_id": own.pad_id or 0, **end}
    return {"embed_dim": dim, "vision_cfg": {**seen, **vision}, "text_cfg": {**read, **words}}


def _made(config: dict[str, Any]) -> Any:
    """The model of open_clip that a configuration asks for."""
    try:
        import open_clip
    except ImportError as error:
        raise RecipeError("encoder 'open-clip' needs open_clip", hint="pip install 'mmask-vl[open-clip]'") from error
    custom = {"hf_model_name", "timm_model_name"} & {*config["text_cfg"], *config["vision_cfg"]}
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) or custom else open_clip.CLIP
    return kind(**config)


def _check(config: Mapping[str, Any], patches: Any, words: Any) -> None:
    """Raises RecipeError where the tokenizers do not fit the configuration."""
    side, read = config["vision_cfg"].get("image_size", 224), config["text_cfg"].get("vocab_size", 49408)
    side = tuple(side) if isinstance(side, Sequence) else (side, side)
    if patches is not None and tuple(patches.image_size) != side:
        raise RecipeError(f"the model sees pictures of {side}, the tokenizer makes {tuple(patches.image_size)}",
                          hint="set tokenize.image.image_size and data.decode.image.size")
    if words is not None and (words.vocabulary.sep_id is None or words.vocabulary.sep_id >= read):
        raise RecipeError(f"the vocabulary does not end texts with one of the model's {read:,} ids",
                          hint="open_clip's named models read the vocabulary 'open_clip'")


def _check_places(visual: Any, patches: Any) -> None:
    """Raises RecipeError for a tower whose patches have no states in the shared space, or are not the tokenizer's."""
    own = getattr(visual, "pool_type", None) == "tok" and getattr(visual, "attn_pool", None) is None
    if not own or not hasattr(visual, "forward_intermediates") or getattr(visual, "final_ln_after_pool", False):
        raise RecipeError(f"a {type(visual).__name__} has no states of patches in the space it shares with texts",
                          hint="set places=false, or take one of open_clip's models ViT-*")
    if tuple(visual.grid_size) != tuple(patches.grid):
        raise RecipeError(f"the model's patches are {tuple(visual.grid_size)} of a picture, the tokenizer's "
                          f"{tuple(patches.grid)}", hint="with places=true give tokenize.image.size the model's patch")


def _leave_out(clip: nn.Module, *towers: Sequence[str]) -> None:
    """Let go of towers that see nothing."""
    for name in (name for names in towers for name in names if hasattr(clip, name)):
        setattr(clip, name, None)
