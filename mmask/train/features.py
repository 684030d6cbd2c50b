"""What an encoder makes of samples with nothing hidden: pooled features, the states of places, or the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.errors import DataError, UsageError
from mmask.keyed import Keys
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision
from mmask.types import Batch, Encoded, Labelled, Tokens

POOLED, PLACES, LAYERS, INPUT = "pooled", "places", "layers", "input"


def encode(
    model: MaskedModel, precision: Precision, batch: Batch, taps: tuple[str, ...] = (), view: str = "clean"
) -> Encoded:
    """The exported network's answer to a view; plans are drawn for any but the clean one."""
    plans: Any = {} if view == "clean" else None
    with precision.autocast():
        return model.run(lambda: model.scene(precision.cast(batch), plans).encode(model.exports, view, taps=taps))


def layer_taps(network: Any) -> tuple[str, ...]:
    """The taps that are a network's layers, first to last. Raises UsageError when it does not name them."""
    names = tuple(getattr(network, "layer_taps", ()))
    if not names:
        raise UsageError(
            f"{type(network).__name__} does not name its layers, so they cannot be weighed",
            hint="give the encoder layer_taps, the names of its taps from first to last",
        )
    return names


def collect(
    model: MaskedModel, precision: Precision, batches: Iterable[Batch], *, want: str = POOLED, pool: str = "auto",
    fields: tuple[str, ...] = ("label",), of_input: bool = False,
) -> dict[str, Tensor]:
    """Samples of all batches side by side, on the host, in float32.

    want: ``pooled`` gives ``features`` (N, D), ``places`` gives ``places`` (N, K, D) and ``valid`` (N, K), ``layers``
    gives ``layers`` (N, L, D).
    of_input: the tokens themselves instead of what a network makes of them. Always ``ids`` (N,) int64, the bits
    of the uint64 sample ids, and ``fields`` of the batch. Raises DataError when there is no sample.
    """
    rows: list[dict[str, Tensor]] = []
    with torch.no_grad():  # not inference mode: weights of a sharded model that were gathered there cannot be trained
        for batch in batches:
            made = _input(model, batch, want) if of_input else _states(model, precision, batch, want, pool)
            made["ids"] = torch.from_numpy(batch.ids.view(np.int64).copy())
            made.update({name: batch[name] for name in fields})
            rows.append({name: _plain(value) for name, value in made.items()})
    if not rows:
        raise DataError("no sample could be read", hint="look at the shards with: mmask data inspect URL")
    return {name: _cat([row[name] for row in rows]) for name in rows[0]}


def pooled(encoded: Encoded, pool: str) -> Tensor:
    """(B, D) of one encoding. pool: ``auto`` is what the network itself pools, else ``mean``; ``mean`` of the
    places; ``cls``, the first prefix token. Raises UsageError for ``cls`` of a network without prefix."""
    if pool == "auto" and encoded.pooled is not None:
        return encoded.pooled
    if pool == "cls":
        if not encoded.prefix or encoded.state is None:
            raise UsageError("this network has no [CLS] token", hint="use --pool mean")
        return encoded.state[:, 0]
    return _mean(*places(encoded))


def places(encoded: Encoded) -> tuple[Tensor, Tensor | None]:
    """(B, K, D) states of the places and (B, K) bool ``valid`` or None. The last map of a pyramid is a row of
    places; several streams stand one after another. Raises UsageError where they cannot."""
    if encoded.cu_seqlens is not None:
        return _unpack(encoded)
    if encoded.state is not None:
        return encoded.places, encoded.layout.valid
    if encoded.pyramid:
        return encoded.pyramid[-1].flatten(2).transpose(1, 2), None
    parts = [places(inner) for inner in encoded.streams.values()]
    if not parts or len({states.shape[2] for states, _ in parts}) > 1:
        raise UsageError("this network gives neither states nor maps of one width, so there is nothing to evaluate")
    known = [_valid(states, valid) for states, valid in parts]
    return torch.cat([states for states, _ in parts], 1), torch.cat(known, 1)


def _unpack(encoded: Encoded) -> tuple[Tensor, Tensor | None]:
    layout, state = encoded.layout, encoded.state
    assert state is not None
    if encoded.prefix:
        raise UsageError("a flat encoding with prefix tokens cannot be laid out by sample")
    out = state.new_zeros(layout.batch * layout.length, state.shape[-1])
    out[layout.flat_index().to(state.device)] = state
    return out.view(layout.batch, layout.length, -1), layout.valid


def _states(model: MaskedModel, precision: Precision, batch: Batch, want: str, pool: str) -> dict[str, Tensor]:
    taps = layer_taps(model.encoder) if want == LAYERS else ()
    encoded = encode(model, precision, batch, taps)
    if want == LAYERS:
        each = [replace(encoded, state=encoded.taps[tap], pooled=None) for tap in taps]
        return {"layers": torch.stack([pooled(one, pool) for one in each], 1)}
    if want == POOLED:
        return {"features": pooled(encoded, pool)}
    states, valid = places(encoded)
    return {"places": states, "valid": _valid(states, valid)}


def _input(model: MaskedModel, batch: Batch, want: str) -> dict[str, Tensor]:
    """The values of the clean tokens: what a linear map could do without any encoder. Sequences of different
    lengths are averaged; ids are counted."""
    streams = [_values(tokenizer(batch)) for tokenizer in model.tokenizers_of(chance=False).values()]
    if want == PLACES:
        if len(streams) > 1:
            raise UsageError("the input of several streams has no common places", hint="use knn or linear")
        values, valid = streams[0]
        return {"places": values, "valid": _valid(values, valid)}
    flat = [values.flatten(1) if valid is None else _mean(values, valid) for values, valid in streams]
    features = torch.cat(flat, 1)
    return {"layers": features[:, None]} if want == LAYERS else {"features": features}


def _values(tokens: Tokens) -> tuple[Tensor, Tensor | None]:
    if tokens.flat:
        raise UsageError("flat tokens have no input features", hint="switch packing off in the tokenizer")
    if tokens.values is not None:
        return tokens.values.float(), tokens.layout.valid
    raise UsageError(
        "tokens that are ids have no values to judge as input features", hint="use --init random as the floor"
    )


def _mean(states: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return states.mean(1)
    keep = valid.to(states.device)[..., None]
    return (states * keep).sum(1) / keep.sum(1).clamp_min(1)


def _valid(states: Tensor, valid: Tensor | None) -> Tensor:
    return torch.ones(states.shape[:2], dtype=torch.bool) if valid is None else valid


def _plain(value: Any) -> Tensor:
    value = torch.as_tensor(value).detach().cpu()
    return (value.float() if value.is_floating_point() else value).clone()


def _cat(parts: list[Tensor]) -> Tensor:
    """Along samples; places are padded at their end to the longest."""
    if parts[0].ndim < 2 or len({part.shape[1] for part in parts}) == 1:
        return torch.cat(parts)
    longest = max(part.shape[1] for part in parts)
    tail = (0, 0) * (parts[0].ndim - 2)
    return torch.cat([F.pad(part, (*tail, 0, longest - part.shape[1])) for part in parts])


def held_out(ids: Tensor, share: float = 0.2) -> Tensor:
    """(N,) bool: the test part where no test samples are given. A sample's side depends on its id alone."""
    keys = Keys(0, ids.numpy().view(np.uint64), np.zeros(len(ids), np.int64))
    return torch.from_numpy(keys.uniform("held out", 1)[:, 0] < share)


def pair(
    fit: Mapping[str, Tensor], test: Mapping[str, Tensor], known: int | None = None
) -> tuple[Labelled, Labelled, np.ndarray]:
    """Two tables of `collect`, with ``labels``, as what evaluators get, and the labels that their classes stand
    for. known: the number of classes, where labels are not those classes: 0 for numbers. Raises DataError where there
    is nothing to learn or nothing to tell apart."""
    classes = np.unique(np.concatenate([fit["labels"].numpy(), test["labels"].numpy()]))
    if len(fit["labels"]) < 2 or not len(test["labels"]):
        raise DataError(
            f"there are {len(fit['labels'])} labelled samples to fit and {len(test['labels'])} to test",
            hint="give more samples, or test shards of their own",
        )
    if known is not None:
        classes = np.arange(known)
    elif len(classes) < 2:
        raise DataError(f"every sample has the label {classes[0]}, so there is nothing to tell apart")
    made = []
    for table in (fit, test):
        labels = table["labels"]
        if known is None:
            labels = torch.from_numpy(np.searchsorted(classes, labels.numpy()))
        names = [name for name in ("features", "places", "valid", "layers", "rows") if name in table]
        more: dict[str, Any] = {name: table[name] for name in names}
        made.append(Labelled(labels, len(classes), table["ids"], **more))
    return made[0], made[1], classes
