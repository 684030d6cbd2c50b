"""Names: how published checkpoints call LXMERT's tensors (airsplay/lxmert and transformers)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

QKV = ("query", "key", "value")
OFFICIAL, HF = "bert.", "lxmert."
_TOP = {
    "embed.words": "embeddings.word_embeddings", "embed.positions": "embeddings.position_embeddings",
    "embed.types": "embeddings.token_type_embeddings", "embed.norm": "embeddings.LayerNorm",
    "look.features": "encoder.visn_fc.visn_fc", "look.features_norm": "encoder.visn_fc.visn_layer_norm",
    "look.box": "encoder.visn_fc.box_fc", "look.box_norm": "encoder.visn_fc.box_layer_norm", "pooler": "pooler.dense",
}
_STACKS = {"language": "encoder.layer", "objects": "encoder.r_layers", "cross": "encoder.x_layers"}
_LAYER = {
    "attention.qkv": "attention.self.{}", "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm", "feed.up": "intermediate.dense", "feed.down": "output.dense",
    "norm2": "output.LayerNorm",
}
_CROSS = {
    "across.qkv": "visual_attention.att.{}", "across.out": "visual_attention.output.dense",
    "norm": "visual_attention.output.LayerNorm",
    **{
        f"{side}.{ours}": f"{theirs}_{name}"
        for side, theirs in (("first", "lang"), ("second", "visn"))
        for ours, name in (
            ("attention.qkv", "self_att.self.{}"), ("attention.out", "self_att.output.dense"),
            ("norm1", "self_att.output.LayerNorm"), ("feed.up", "inter.dense"), ("feed.down", "output.dense"),
            ("norm2", "output.LayerNorm"),
        )
    },
}
_HEADS = {
    "words": {
        "dense": "cls.predictions.transform.dense", "norm": "cls.predictions.transform.LayerNorm",
        "decoder": "cls.predictions.decoder",
    },
    "matching": {"proj": "cls.seq_relationship"},
    "objects": {
        "dense": "obj_predict_head.transform.dense", "norm": "obj_predict_head.transform.LayerNorm",
        "answers.label": "obj_predict_head.decoder_dict.obj", "answers.attribute": "obj_predict_head.decoder_dict.attr",
        "answers.feature": "obj_predict_head.decoder_dict.feat",
    },
    "answers": {"up": "answer_head.logit_fc.0", "norm": "answer_head.logit_fc.2", "down": "answer_head.logit_fc.3"},
}
PARTS = ("encoder", *_HEADS)
STARTS = {"words": "cls.predictions.", "matching": "cls.seq_relationship.", "objects": "obj_predict_head.",
          "answers": "answer_head."}


@dataclass(frozen=True)
class Place:
    """Where a tensor of theirs lies among ours. third: which of three parts of a fused matrix, None for all of it."""

    part: str
    name: str
    third: int | None = None

    def of(self, parts: Mapping[str, Mapping[str, Any]]) -> Any:
        """Their tensor (or its gradient), from ours by part and name; a view."""
        value = parts[self.part][self.name]
        return value if self.third is None or value is None else value.chunk(3)[self.third]


def places(parts: Mapping[str, Mapping[str, Any]], prefix: str = OFFICIAL) -> dict[str, Place]:
    """Their name -> where it lies, for every tensor of the parts given, by our names. prefix: of the encoder's."""
    out: dict[str, Place] = {}
    for part, tensors in parts.items():
        for name in tensors:
            if part == "encoder":
                out |= {prefix + theirs: place for theirs, place in _encoder(name)}
            elif (part, name) == ("words", "bias"):
                out["cls.predictions.bias"] = Place(part, name)
            else:
                module, _, kind = name.rpartition(".")
                out[f"{_HEADS[part][module]}.{kind}"] = Place(part, name)
    return out


def _encoder(name: str) -> Iterator[tuple[str, Place]]:
    module, _, kind = name.rpartition(".")
    stack, _, rest = module.partition(".layers.")
    if not rest:
        yield f"{_TOP[module]}.{kind}", Place("encoder", name)
        return
    number, _, inner = rest.partition(".")
    theirs = f"{_STACKS[stack]}.{number}.{(_CROSS if stack == 'cross' else _LAYER)[inner]}.{kind}"
    if "{}" not in theirs:
        yield theirs, Place("encoder", name)
        return
    for third, one in enumerate(QKV):
        yield theirs.format(one), Place("encoder", name, third)
