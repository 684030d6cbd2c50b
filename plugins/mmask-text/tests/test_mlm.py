"""The word head: logits at scored places only, one table for words in and out, and its refusals."""

from __future__ import annotations

import pytest
import torch

from mmask.api import NetworkSection, PlanError, RecipeError, Scored, use
from mmask.testing import through_checkpoint
from mmask_text.mlm import MlmHead
from mmask_text.recipes.bert import bert_tiny


def model_of(build, words, **head):
    recipe = bert_tiny()
    recipe.networks["encoder"] = NetworkSection(
        use="text", width=16, depth=1, heads=2, dropout=0.0, attention_dropout=0.0
    )
    recipe.tokenize["text"] = use("ids", vocabulary=words())
    recipe.objectives["words"].head = use("mlm", **head)
    return build(recipe)


def test_logits_at_scored_places_are_those_of_all_places(build, words, texts, monkeypatch):
    model, batch, sizes = model_of(build, words), texts(12, 30, 7), []
    plan = model.draw(batch).plan("mask")
    scored = Scored.hidden(plan)
    head = model.objectives["words"].head
    plain = MlmHead.logits
    monkeypatch.setattr(MlmHead, "logits", lambda self, x: sizes.append(len(x)) or plain(self, x))
    losses, predictions = model.eval()(batch, predictions=True)
    assert sizes == [len(scored.index)] == [2 + 4 + 1]  # round(0.15 n) of 12, 30 and 7
    encoded = model.scene(batch, {"mask": plan}).encode("encoder", "masked")
    everywhere = plain(head, encoded.state.flatten(0, 1)).view(3, 30, -1)
    torch.testing.assert_close(predictions["words"].value, scored.take(everywhere))
    want = torch.nn.functional.cross_entropy(predictions["words"].value, scored.take(batch["text"]))
    torch.testing.assert_close(losses["words"], want)


def test_the_table_is_one_also_after_a_checkpoint(build, words, tmp_path, texts):
    model = model_of(build, words)
    again = model_of(build, words)
    again.load_state_dict(through_checkpoint(model, tmp_path))
    head = again.objectives["words"].head
    assert head.decoder is again.encoder.embed.words
    assert torch.equal(head.decoder.weight, model.encoder.embed.words.weight)
    again(texts(9, 12)).total().backward()
    assert head.decoder.weight.grad.abs().sum(1).ne(0).all()  # every word is compared, few are looked up


def test_choices(build, words, texts):
    untied = model_of(build, words, tied=False)
    assert untied.objectives["words"].head.decoder is not untied.encoder.embed.words
    bare = model_of(build, words, transform=False, bias=False)
    assert sum(p.numel() for p in bare.objectives.parameters()) == bare.encoder.embed.words.weight.numel()
    assert bare(texts(9, 12))["words"] > 0
    with pytest.raises(RecipeError, match="no activation 'selu'"):
        model_of(build, words, act="selu")
    recipe = bert_tiny()
    recipe.tokenize["text"] = use("ids", vocabulary=words(), size=10)
    with pytest.raises(RecipeError, match="a table of 10 rows cannot hold a vocabulary of 50 ids"):
        build(recipe)


def test_a_step_of_two_parts_is_one_step(build, words, texts):
    """The loss is a mean over the hidden places of the step, so accumulation changes no gradient."""
    model, batch = model_of(build, words).double(), texts(12, 30, 7, 19)
    plans = model.draw(batch)
    model(batch, plans).total().backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    count = model.denominators(plans)["words"]
    for start in (0, 2):
        part = plans.rows(start, start + 2)
        (model(part.batch, part).terms["words"].total / count).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_last_layer_at_hidden_places_changes_nothing(norm, fast, build, words, texts):
    made, batch = [], texts(12, 30, 7, 1, 19)
    for sparse in (False, True):
        recipe = bert_tiny()
        recipe.networks["encoder"] = NetworkSection(
            use="text", width=16, depth=2, heads=2, dropout=0.0, attention_dropout=0.0, sparse=sparse, norm=norm,
            fast=fast,
        )
        recipe.tokenize["text"] = use("ids", vocabulary=words())
        model = build(recipe).double().train()
        scene = model.scene(batch, model.draw(batch))
        loss = model.objectives["words"](scene)["words"]
        loss.backward()
        encoded = scene.encode("encoder", "masked")
        made.append({"loss": loss, "first": encoded.state[:, 0], **{n: p.grad for n, p in model.named_parameters()}})
    assert encoded.state.shape == (5, 5, 16)  # four hidden places of 30, and [CLS]
    for name, want in made[0].items():
        torch.testing.assert_close(made[1][name], want, msg=lambda m, n=name: f"{n}: {m}")
    with pytest.raises(PlanError, match="a scored place was not encoded"):
        model.objectives["words"].head(encoded, Scored.valid(scene.layout()))
