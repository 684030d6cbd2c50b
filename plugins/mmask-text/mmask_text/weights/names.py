"""Names: how published checkpoints call the tensors of a text encoder and of its masked word head.

A family's names are one table; ELECTRA's, or a new one's, are another entry of `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmask.api import CheckpointError

QKV = ("query", "key", "value")


@dataclass(frozen=True)
class Family:
    """A family of checkpoints.

    model_type: transformers' name of it, "" where it has none. prefix: of the encoder's names in a model with a head.
    top, layer, head: our module -> theirs, of what stands once, of each layer (after ``layers`` and its number), of the
    masked word head. fused: whether queries, keys and values are one matrix there, ``layer["attention.qkv"]``;
    otherwise ``{}`` in that name stands for each of them. decoder: their name of the decoder, bias: of its bias alone.
    """

    model_type: str
    prefix: str
    layers: str
    top: Mapping[str, str]
    layer: Mapping[str, str]
    head: Mapping[str, str]
    decoder: str
    bias: str = ""
    fused: bool = False
    marks: tuple[str, ...] = field(default=())

    def of(self, table: Mapping[str, str], module: str) -> str:
        """Their name of one of our modules. Raises CheckpointError when the family has no such part."""
        if module not in table:
            raise CheckpointError(f"the names of {self.model_type or 'this family'} have none for the part '{module}'")
        return table[module]


_BERT_TOP = {
    "embed.words": "embeddings.word_embeddings", "embed.positions": "embeddings.position_embeddings",
    "embed.types": "embeddings.token_type_embeddings", "embed.norm": "embeddings.LayerNorm",
    "pooler": "pooler.dense", "project": "embeddings_project",
}
_BERT_LAYER = {
    "attention.qkv": "attention.self.{}", "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm", "feed.up": "intermediate.dense", "feed.down": "output.dense",
    "norm2": "output.LayerNorm",
}
_BERT_HEAD = {"dense": "cls.predictions.transform.dense", "norm": "cls.predictions.transform.LayerNorm"}

BERT = Family(
    "bert", "bert.", "encoder.layer", _BERT_TOP, _BERT_LAYER, _BERT_HEAD, "cls.predictions.decoder",
    "cls.predictions.bias", marks=("encoder.layer.0.intermediate.dense.weight",),
)
ROBERTA = Family(
    "roberta", "roberta.", "encoder.layer", _BERT_TOP, _BERT_LAYER,
    {"dense": "lm_head.dense", "norm": "lm_head.layer_norm"}, "lm_head.decoder", "lm_head.bias",
    marks=("encoder.layer.0.intermediate.dense.weight",),
)
MOSAICBERT = Family(
    "", "bert.", "encoder.layer", _BERT_TOP,
    {**_BERT_LAYER, "attention.qkv": "attention.self.Wqkv", "feed.up": "mlp.gated_layers", "feed.down": "mlp.wo",
     "norm2": "mlp.layernorm"},
    _BERT_HEAD, "cls.predictions.decoder", fused=True, marks=("encoder.layer.0.mlp.gated_layers.weight",),
)
MODERNBERT = Family(
    "modernbert", "model.", "layers",
    {"embed.words": "embeddings.tok_embeddings", "embed.norm": "embeddings.norm", "body.norm": "final_norm"},
    {"attention.qkv": "attn.Wqkv", "attention.out": "attn.Wo", "norm1": "attn_norm", "norm2": "mlp_norm",
     "feed.up": "mlp.Wi", "feed.down": "mlp.Wo"},
    {"dense": "head.dense", "norm": "head.norm"}, "decoder", fused=True, marks=("layers.0.attn.Wqkv.weight",),
)
ELECTRA = Family(
    "electra", "electra.", "encoder.layer", _BERT_TOP, _BERT_LAYER,
    {"dense": "generator_predictions.dense", "norm": "generator_predictions.LayerNorm"}, "generator_lm_head",
    marks=("encoder.layer.0.intermediate.dense.weight",),
)
FAMILIES: Mapping[str, Family] = {
    "bert": BERT, "roberta": ROBERTA, "mosaicbert": MOSAICBERT, "modernbert": MODERNBERT, "electra": ELECTRA,
}


@dataclass(frozen=True)
class Place:
    """Where a tensor of theirs lies among ours. part: ``encoder`` or ``head``. third: which of the three parts of a
    fused matrix it is, None for all of it."""

    part: str
    name: str
    third: int | None = None

    def of(self, tensors: Mapping[str, Any]) -> Any:
        """Their tensor (or its gradient), from ours by name; a view."""
        value = tensors[self.name]
        return value if self.third is None or value is None else value.chunk(3)[self.third]


def places(family: Family, encoder: Mapping[str, Any], head: Mapping[str, Any] | None = None) -> dict[str, Place]:
    """Their name -> where it lies, for every tensor of an encoder and of a head, both by our names. Names of the
    encoder have the family's prefix."""
    out: dict[str, Place] = {}
    for name in encoder:
        for theirs, place in _named(family, name):
            out[family.prefix + theirs] = place
    for name in head or {}:
        if name == "decoder.weight":
            out[f"{family.decoder}.weight"] = Place("head", name)
        elif name == "bias":
            out |= {theirs: Place("head", name) for theirs in {f"{family.decoder}.bias", family.bias} if theirs}
        else:
            module, _, kind = name.rpartition(".")
            out[f"{family.of(family.head, module)}.{kind}"] = Place("head", name)
    return out


def _named(family: Family, name: str) -> Iterator[tuple[str, Place]]:
    module, _, kind = name.rpartition(".")
    if not module.startswith("body.layers."):
        yield f"{family.of(family.top, module)}.{kind}", Place("encoder", name)
        return
    number, _, inner = module.removeprefix("body.layers.").partition(".")
    start, apart = f"{family.layers}.{number}.", inner.removeprefix("attention.")
    if inner == "attention.qkv" and not family.fused:
        for third, one in enumerate(QKV):
            yield f"{start}{family.layer[inner].format(one)}.{kind}", Place("encoder", name, third)
    elif apart in QKV:
        if family.fused:
            raise CheckpointError(
                "these names have one matrix for queries, keys and values, the encoder has three", hint="set qkv=fused"
            )
        yield f"{start}{family.layer['attention.qkv'].format(apart)}.{kind}", Place("encoder", name)
    else:
        yield f"{start}{family.of(family.layer, inner)}.{kind}", Place("encoder", name)


def rtd_names() -> dict[str, str]:
    """Our name -> theirs of every tensor of ELECTRA's discriminator head."""
    modules = {"dense": "discriminator_predictions.dense", "out": "discriminator_predictions.dense_prediction"}
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in modules.items() for kind in ("weight", "bias")}
