"""Filling masks, pseudo-perplexity, and labels of words, against what is done by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from mmask.api import Batch, UsageError
from mmask.testing import build, component, mmask
from mmask_text.judge import MaskedWords
from mmask_text.predict import fill
from mmask_text.words import WordModel

SMALL = ["networks.encoder.width=32", "networks.encoder.depth=1", "networks.encoder.heads=2", "tokenize.text.size=none"]


@pytest.fixture(scope="module")
def model():
    return build("bert-tiny", overrides=SMALL).eval()


def test_the_best_words_are_those_of_a_plain_pass(model):
    words = WordModel(model)
    (masks,) = fill(words, ["the [MASK] of [MASK]"], 3)
    vocabulary = words.vocabulary
    ids = vocabulary.frame(vocabulary.encode("the [MASK] of [MASK]", special=True))[0]
    batch = words.batch([ids])
    states = model.scene(batch, {}).encode("encoder", "clean").state[0]
    for place, guesses in zip(np.flatnonzero(ids == vocabulary.mask_id), masks, strict=True):
        best = model.objectives["words"].head.logits(states[place][None]).softmax(-1)[0].topk(3)
        assert [one.id for one in guesses] == best.indices.tolist()
        assert [one.probability for one in guesses] == pytest.approx(best.values.tolist(), rel=1e-4)


def test_electra_answers_with_its_generator_and_a_text_without_a_mask_is_refused():
    model = build("electra-tiny", overrides=["tokenize.text.size=none"]).eval()
    words = WordModel(model)
    assert words.network is model.network("generator")
    with pytest.raises(UsageError, match="no \\[MASK\\]"):
        fill(words, ["nothing is hidden"])


class Given:
    """Two texts as what an evaluator of a whole model gets."""

    def __init__(self, model, texts):
        self.model, self.words = model, WordModel(model)
        vocabulary = self.words.vocabulary
        self.ids = [vocabulary.frame(vocabulary.encode(text))[0] for text in texts]

    def __len__(self):
        return len(self.ids)

    def stored(self, count):
        made = self.words.batch(self.ids[:count])
        yield Batch(made.fields, made.ids, made.visits)


def test_pseudo_perplexity_hides_each_piece_in_turn(model):
    given = Given(model, ["The whale dived into the sea.", "Peace."])
    found = MaskedWords(mode="each", chunk=2)(given, seed=0)
    nats, count = 0.0, 0
    for ids in given.ids:
        for place in range(1, len(ids) - 1):  # not [CLS] and [SEP]
            hidden = ids.copy()
            hidden[place] = given.words.vocabulary.mask_id
            state = model.scene(given.words.batch([hidden]), {}).encode("encoder", "clean").state[0, place]
            logits = model.objectives["words"].head.logits(state[None])[0]
            nats -= float(logits.log_softmax(-1)[ids[place]].detach())
            count += 1
    assert found.about["pieces"] == count
    assert found.numbers["pseudo_perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)


def test_fixed_plans_give_the_same_numbers_twice_and_others_for_another_seed(model):
    given = Given(model, ["The whale dived into the cold sea, and nobody saw it for an hour."] * 2)
    first, again = (MaskedWords(mode="plans")(given, seed=3).numbers for _ in range(2))
    assert first == again
    assert first != MaskedWords(mode="plans")(given, seed=4).numbers


def test_words_that_were_split_already_keep_their_numbers():
    from mmask.api import Sample, SampleId

    decode = component("decoder", "text", words="tokens")
    part = json.dumps({"tokens": ["Extraordinarily", "", "good", ",", "x"]}).encode()
    made = decode(Sample(SampleId("s", "t.tar", "1"), {"json": part}), None)
    word = made["text.word"]
    assert word[0] == word[-1] == -1
    assert sorted(set(word[1:-1].tolist())) == [0, 2, 3, 4]
    assert (np.diff(word[1:-1]) >= 0).all()


def test_labels_of_words_pairs_and_numbers_from_files(tmp_path, capsys):
    run = tmp_path / "run"
    assert mmask("train", "--recipe", "bert-tiny", "--steps", "1", "--out", run, "--device", "cpu", "--workers", "0",
                 "train.val_samples=4", "data.batch_size=2", "data.pack.window=8", "data.streams=1",
                 "train.trackers=[]", *SMALL) == 0
    rows = [
        {"tokens": ["gold"] * (i % 3 + 1) + ["Washington"], "tags": ["O"] * (i % 3 + 1) + ["LOC"], "text": "gold",
         "second": "war " * (i % 4 + 1), "score": i % 4 + 0.5} for i in range(24)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [file, "--label", "tags", "data.decode.text.words=tokens", "--metric", "macro-f1"]
    assert mmask("eval", "linear", run, "--data", *words, "epochs=20", "--out", tmp_path / "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())["results"][0]
    assert found["classes"] == ["LOC", "O"]
    assert found["summary"]["macro-f1"]["mean"] == 1.0
    assert mmask("eval", "finetune", run, "--data", *words, "epochs=1", "--out", tmp_path / "b.json") == 0
    assert mmask("eval", "weighted", run, "--data", *words, "epochs=20", "--out", tmp_path / "d.json") == 0
    found = json.loads((tmp_path / "d.json").read_text())["results"][0]
    assert found["summary"]["macro-f1"]["mean"] > 0.9
    assert sum(found["seeds"][0]["about"]["layers"]) == pytest.approx(1, abs=1e-3)
    pairs = [file, "--label", "score", "--metric", "spearman", "data.decode.text.second=second"]
    assert mmask("eval", "linear", run, "--data", *pairs, "epochs=20", "--out", tmp_path / "c.json") == 0
    found = json.loads((tmp_path / "c.json").read_text())["results"][0]
    assert found["summary"]["spearman"]["mean"] > 0.5
    assert mmask("eval", "linear", run, "--data", file, "--label", "score") != 0
    assert "--metric spearman" in capsys.readouterr().err
    assert torch.is_grad_enabled()
