"""The reference implementation of UNITER, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.api import Batch, Encoded, Layout, Scored, Target, Tokens, View
from mmask.testing import component
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_vl.matching import ImageTextMatching
from mmask_vl.region_heads import RegionHead
from mmask_vl.region_targets import RegionClasses
from mmask_vl.region_tokens import RegionTokenizer
from mmask_vl.uniter import UniterEncoder
from mmask_vl.uniter_weights import UniterWeights, split

FILES = golden_files("uniter", Path(__file__).parent)
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden) -> SimpleNamespace:
    c = file.config
    regions = RegionTokenizer(dim=c["img_dim"], code=c["pos_dim"])
    encoder = UniterEncoder(
        tokenizers={"text": SimpleNamespace(size=c["vocab_size"], pad_id=0), "regions": regions},
        width=c["hidden_size"], depth=c["num_hidden_layers"], heads=c["num_attention_heads"],
        hidden=c["intermediate_size"], eps=c["layer_norm_eps"], places=c["max_position_embeddings"],
        types=c["type_vocab_size"], act=c["hidden_act"], dropout=0.0, attention_dropout=0.0,
    )
    section = SimpleNamespace(network="encoder", view="paired", weight=1.0)
    parts = {
        "encoder": encoder,
        "words": component("head", "mlm", network=encoder),  # the text plugin's, by name
        "features": RegionHead(network=encoder, target=SimpleNamespace(dim=c["img_dim"]), tied=True),
        "classes": RegionHead(network=encoder, target=SimpleNamespace(dim=c["img_label_dim"])),
        "matching": ImageTextMatching(
            name="itm", section=section, networks={"encoder": encoder}, alignment=c["itm_ot_lambda"],
            beta=c["ot_beta"], steps=c["ot_iterations"], inner=c["ot_k"],
        ),
    }
    own = split(file.weights)
    for part, module in parts.items():
        module.double().eval()
        missing, unexpected = module.load_state_dict(own[part], strict=False)
        shared = {"features": {"tied.bias"}}.get(part, set())
        assert not unexpected and set(missing) == shared, part
    return SimpleNamespace(**parts, parts=parts, regions=regions)


def lengths(file: Golden) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(file.config["txt_lens"]), torch.tensor(file.config["num_bbs"])


def view_of(file: Golden, model: SimpleNamespace, ids: str, features: str, *, hidden: bool = False) -> View:
    words, regions = lengths(file)
    found = file.inputs[ids]
    valid = torch.arange(found.shape[1])[None] < words[:, None]
    batch = Batch(
        {"regions": file.inputs[features], "regions.box": file.inputs["img_pos_feat"], "regions.length": regions},
        np.arange(len(found), dtype=np.uint64), np.zeros(len(found), np.int64),
    )
    tokens = model.regions(batch)
    if hidden:
        tokens = tokens.with_data(tokens.values, replaced=file.inputs["img_masks"].bool())
    return View("made", {"text": Tokens(Layout(*found.shape, valid=valid), ids=found), "regions": tokens})


def packed(file: Golden, encoded: Encoded, states: torch.Tensor | None = None) -> list[torch.Tensor]:
    """The states of each pair, words then regions, without padding."""
    text, regions = (encoded.stream(name).places for name in ("text", "regions"))
    if states is not None:
        text, regions = states.split([text.shape[1], regions.shape[1]], 1)
    return [
        torch.cat([t[:n], r[:m]]) for t, r, n, m in zip(text, regions, *map(list, lengths(file)), strict=True)
    ]


def assert_packed(name: str, file: Golden, got: list[torch.Tensor]) -> None:
    want = file.outputs[name]
    assert_close(name, torch.cat(got), torch.cat([row[: len(one)] for row, one in zip(want, got, strict=True)]))


def run(file: Golden, model: SimpleNamespace) -> SimpleNamespace:
    mlm = model.encoder(view_of(file, model, "masked_input_ids", "img_feat"), taps=("embed",))
    mrm = model.encoder(view_of(file, model, "input_ids", "img_feat_masked", hidden=True), taps=("embed",))
    itm = model.encoder(view_of(file, model, "input_ids", "img_feat"))
    words = file.inputs["txt_labels"]
    at = Scored(mlm.stream("text").layout, index=(words != -1).flatten().nonzero().flatten())
    hidden = file.inputs["img_masks"].bool()
    there = Scored(mrm.stream("regions").layout, index=hidden.flatten().nonzero().flatten())
    said = {
        "mlm": model.words(mlm.stream("text"), at), "mrfr": model.features(mrm.stream("regions"), there),
        "mrc": model.classes(mrm.stream("regions"), there),
    }
    soft = file.inputs["label_targets"]
    losses = {
        "loss_mlm": component("loss", "cross-entropy")(said["mlm"], Target(at.take(words), at)).mean(),
        "loss_mrfr": component("loss", "mse")(said["mrfr"], Target(file.inputs["feat_targets"], there)).mean(),
        "loss_mrc": component("loss", "cross-entropy")(said["mrc"], Target(hard(file, there, soft), there)).mean(),
        "loss_mrc_kl": component("loss", "divergence", over="mean")(said["mrc"], Target(soft, there)).mean(),
    }
    terms = model.matching.compare(itm, file.inputs["itm_targets"])
    losses |= {"loss_itm_xe": terms["itm"], "loss_ot": terms["itm_alignment"], "loss_itm": terms.total()}
    loss = sum(losses[f"loss_{name}"] for name in ("mlm", "mrfr", "mrc", "mrc_kl", "itm"))
    return SimpleNamespace(mlm=mlm, mrm=mrm, itm=itm, said=said, losses=losses, loss=loss)


def hard(file: Golden, scored: Scored, soft: torch.Tensor) -> torch.Tensor:
    """The plugin's own hard labels, from the field of a batch."""
    shape = (scored.layout.batch, scored.layout.length, soft.shape[1])
    dense = soft.new_zeros(shape).flatten(0, 1).index_copy(0, scored.index, soft).view(shape)
    batch = Batch({"regions.class": dense}, np.arange(shape[0], dtype=np.uint64), np.zeros(shape[0], np.int64))
    return RegionClasses(classes=soft.shape[1], kind="hard")(SimpleNamespace(batch=batch), scored).value


@each_file
def test_activations_are_those_of_the_reference(path):
    file = golden(path)
    model = model_of(file)
    got = run(file, model)
    assert_packed("embedding_output_mlm", file, packed(file, got.mlm, got.mlm.taps["embed"]))
    assert_packed("embedding_output_mrm", file, packed(file, got.mrm, got.mrm.taps["embed"]))
    for name in ("mlm", "mrm", "itm"):
        assert_packed(f"encoder_output_{name}", file, packed(file, getattr(got, name)))
    assert_close("mlm_scores", got.said["mlm"].value, file.outputs["mlm_scores"])
    assert_close("mrfr_prediction", got.said["mrfr"].value, file.outputs["mrfr_prediction"])
    assert_close("mrc_scores", got.said["mrc"].value, file.outputs["mrc_scores"])
    assert_close("itm_scores", model.matching.score(got.itm.pooled), file.outputs["itm_scores"])


@each_file
def test_the_plan_of_transport_is_that_of_the_reference(path):
    file = golden(path)
    model = model_of(file)
    itm = run(file, model).itm
    words, regions = (torch.arange(int(n.max()))[None] < n[:, None] for n in lengths(file))
    assert_close("ot_txt_emb", itm.stream("text").places[words], file.outputs["ot_txt_emb"][words])
    assert_close("ot_img_emb", itm.stream("regions").places[regions], file.outputs["ot_img_emb"][regions])
    cost, plan, distance = model.matching.distances(itm)
    assert_close("ot_cost", cost, file.outputs["ot_cost"])
    assert_close("ot_plan", plan, file.outputs["ot_plan"])
    assert_close("ot_distance", distance, file.outputs["ot_distance"])
    assert cost.requires_grad and not plan.requires_grad


@each_file
@pytest.mark.parametrize("fast", [True, False])
def test_losses_and_gradients_are_those_of_the_reference(path, fast):
    file = golden(path)
    model = model_of(file)
    model.encoder.fast = fast
    got = run(file, model)
    for name, loss in got.losses.items():
        assert_close(name, loss, file.outputs[name])
    assert_close("loss", got.loss, file.outputs["loss"])
    everything = {"loss": got.loss, **got.losses}
    for name, wanted in file.grads.items():
        for module in model.parts.values():
            module.zero_grad()
        everything[name].backward(retain_graph=True)
        grads = UniterWeights.official(
            {part: {n: p.grad for n, p in module.named_parameters()} for part, module in model.parts.items()}
        )
        assert wanted
        for weight, want in wanted.items():
            assert_close(f"grads/{name}/{weight}", grads[weight], want)


@each_file
def test_the_lines_of_the_description_that_name_wrong_choices_would_be_seen(path):
    file = golden(path)
    model = model_of(file)
    got = run(file, model)
    scored = got.said["mrc"].scored
    summed = component("loss", "divergence")(got.said["mrc"], Target(file.inputs["label_targets"], scored)).mean()
    classes = file.config["img_label_dim"]
    torch.testing.assert_close(summed, got.losses["loss_mrc_kl"] * classes, rtol=1e-12, atol=0)
    model.encoder.embed_regions.hidden.data.zero_()
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model).loss, file.outputs["loss"])
