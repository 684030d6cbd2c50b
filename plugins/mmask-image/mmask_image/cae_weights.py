"""CaeWeights: checkpoints of the reference implementation of CAE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from mmask.api import MaskedModel, copy_parts
from mmask_image.latent_decoder import LatentDecoder
from mmask_image.regressor import LatentRegressor
from mmask_image.weights import MaeWeights

# Start of an official name -> start of ours: regressor, then decoder. The encoder's names are timm's.
_REGRESSOR = {
    "mask_token": "mask_token",
    "encoder_to_regresser_norm.": "project_norm.",
    "encoder_to_regresser.": "project.",
    "regresser.norm.": "norm.",
    "regresser.regressor_blocks.": "blocks.",
}
_DECODER = {"decoder.decoder_blocks.": "blocks.", "decoder.norm.": "norm.", "decoder.head.": "pred."}
_PARTS = {  # inside a regressor block
    "gamma_1_cross": "gamma_1", "gamma_2_cross": "gamma_2", "norm1_q": "norm_q", "norm1_k": "norm_k",
    "norm1_v": "norm_v", "norm2_cross": "norm", "cross_attn.q_bias": "q.bias", "cross_attn.v_bias": "v.bias",
    "cross_attn.": "", "mlp_cross.": "mlp.",
}
_TABLE = "rd_pos_embed"  # positions of regressor and decoder, with a row for [CLS] that neither uses


class CaeWeights:
    """Reads (and gives back) the official names (``encoder.blocks.0.attn.q_bias``, ``regresser.norm.weight``).

    Files as `MaeWeights` takes them. The reference's ``alignment_encoder`` shares the encoder's storage after
    its first step, so it is left out, unless the model has a network ``aligner`` to put it in.
    """

    def read(self, path: Path) -> Mapping[str, Tensor]:
        """Official name -> tensor, on the host. Raises CheckpointError for anything but such a file."""
        return MaeWeights().read(path)

    def load(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
        """Copy into a context autoencoder, or into its encoder alone.

        Yields a line for every tensor missing or unexpected. Raises CheckpointError for a tensor of another
        shape, before anything is copied.
        """
        found = {what: (module, split(weights, what)) for what, module in parts(model).items()}
        if "aligner" in found and not found["aligner"][1]:
            found.pop("aligner")  # the reference's own shares the encoder's storage, and may be left out
        yield from copy_parts(found)

    def write(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors under their official names; the encoder again as ``alignment_encoder``."""
        found = {what: module.state_dict() for what, module in parts(model).items()}
        found.setdefault("aligner", found["encoder"])
        return self.official(found)

    @staticmethod
    def official(found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """part -> our names -> things, as official names -> things; works for gradients as for weights."""
        out: dict[str, Tensor] = {}
        for what, start in (("encoder", "encoder."), ("aligner", "alignment_encoder.")):
            out |= {start + name: value for name, value in found.get(what, {}).items() if name != "mask_token"}
        for what, table in (("regressor", _REGRESSOR), ("decoder", _DECODER)):
            for name, value in found.get(what, {}).items():
                if name != "positions":
                    out[_back(name, table, what)] = value
        places = found.get("regressor", {}).get("positions")
        if places is not None:
            out[_TABLE] = nn.functional.pad(places, (0, 0, 1, 0))
        return out


def parts(model: nn.Module) -> dict[str, nn.Module]:
    """encoder, and regressor, decoder and aligner where the model has them; of a network alone, itself."""
    if not hasattr(model, "networks"):
        return {"encoder": model}
    whole = cast("MaskedModel", model)
    out: dict[str, nn.Module] = {"encoder": whole.encoder}
    regressors = [m for m in whole.networks.values() if isinstance(m, LatentRegressor)]
    decoders = [m for m in whole.objectives.modules() if isinstance(m, LatentDecoder)]
    if regressors:
        out["regressor"] = regressors[0]
    if decoders:
        out["decoder"] = decoders[0]
    if "aligner" in whole.networks:
        out["aligner"] = whole.networks["aligner"]
    return out


def split(weights: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The tensors of one part under our names."""
    if what in ("encoder", "aligner"):
        start = "encoder." if what == "encoder" else "alignment_encoder."
        return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
    table = _REGRESSOR if what == "regressor" else _DECODER
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        for theirs, ours in table.items():
            if name.startswith(theirs):
                rest = name.removeprefix(theirs)
                out[ours + (_inner(rest) if theirs == "regresser.regressor_blocks." else rest)] = value
                break
    if _TABLE in weights:
        out["positions"] = weights[_TABLE][:, 1:]
    return out


def _inner(name: str) -> str:
    number, _, rest = name.partition(".")
    for theirs, ours in _PARTS.items():
        if rest.startswith(theirs):
            return f"{number}.{ours}{rest.removeprefix(theirs)}"
    return name


def _back(name: str, table: Mapping[str, str], what: str) -> str:
    for theirs, ours in table.items():
        if name.startswith(ours):
            rest = name.removeprefix(ours)
            return theirs + (_outer(rest) if what == "regressor" and ours == "blocks." else rest)
    return name


def _outer(name: str) -> str:
    number, _, rest = name.partition(".")
    known = {ours: theirs for theirs, ours in _PARTS.items() if ours}
    for ours in ("q.bias", "v.bias", "gamma_1", "gamma_2", "norm_q", "norm_k", "norm_v", "norm", "mlp."):
        if rest.startswith(ours):
            return f"{number}.{known[ours]}{rest.removeprefix(ours)}"
    return f"{number}.cross_attn.{rest}"
