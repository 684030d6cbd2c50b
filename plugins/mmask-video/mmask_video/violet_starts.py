"""What VIOLET starts from: a Video Swin, and a BERT, each under its own names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# Start of a BERT's name -> the same in a checkpoint of VIOLET, whose words and fusion are a BERT in two pieces
_BERT = {
    "embeddings.": "enc_txt.emb_txt.", "encoder.layer.": "trsfr.layer.", "cls.predictions.": "fc_mtm.predictions.",
}
_NO_PART = ("pooler.", "cls.seq_relationship.", "embeddings.position_ids", "embeddings.token_type_ids")
_WORDS, _DECODER = "enc_txt.emb_txt.word_embeddings.weight", "fc_mtm.predictions.decoder.weight"
_SWIN = "enc_img.swin."


def as_violet(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Foreign name -> tensor, of torchvision's or the authors' Video Swin, or of transformers' BERT, or of VIOLET.

    -> the same by VIOLET's names, and the beginnings of what such a file has to hold; none is everything.
    """
    if any(name.startswith("backbone.layers.") for name in weights):  # Video-Swin-Transformer, an mmaction recognizer
        swin = {name.removeprefix("backbone."): one for name, one in weights.items() if name.startswith("backbone.")}
        return {_SWIN + name: one for name, one in swin.items()}, (_SWIN,)
    if any(name.startswith("features.") for name in weights):  # torchvision; its stages and mergings are one line
        stages = {name: one for name, one in weights.items() if not name.startswith("head.")}
        return {_SWIN + _official(name): one for name, one in stages.items()}, (_SWIN,)
    if any(_bare(name).startswith("embeddings.word_embeddings.") for name in weights):
        return _bert(weights)
    return dict(weights), ()


def _official(name: str) -> str:
    """torchvision's name of a Video Swin's tensor -> its authors'."""
    start, _, rest = name.partition(".")
    if start != "features":
        return name
    number, _, inner = rest.partition(".")
    stage, odd = divmod(int(number), 2)
    inner = inner.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    return f"layers.{stage}.{'downsample' if odd else 'blocks'}.{inner}"


def _bert(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    found: dict[str, Tensor] = {}
    for foreign, value in weights.items():
        name = _bare(foreign)
        if name.startswith(_NO_PART):
            continue
        start = next((one for one in _BERT if name.startswith(one)), "")
        found[_BERT.get(start, "") + name.removeprefix(start)] = value
    starts = ("enc_txt.", "trsfr.")
    if not any(name.startswith("fc_mtm.") for name in found):
        return found, starts
    found.setdefault(_DECODER, found[_WORDS])  # files leave out what is tied there; here it goes its own way
    return found, (*starts, "fc_mtm.")


def _bare(name: str) -> str:
    """A name without the model's, of this year's making."""
    name = name.removeprefix("bert.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            return name.removesuffix(old) + new
    return name
