"""The decoder in the loader: ragged batches, substitutes for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmask.api import Keys
from mmask.testing import batches, mmask, read_ledger
from mmask_text.decode import TextDecoder
from mmask_text.pair import exchange


@pytest.fixture
def shards(tmp_path: Path) -> str:
    lines = [{"text": " ".join(f"Sentence {n} of document {row}." for n in range(1 + row % 5))} for row in range(40)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert mmask("data", "pack", tmp_path / "d.jsonl", "--out", tmp_path / "out") == 0
    return str(tmp_path / "out")


def test_documents_are_padded_to_the_longest_with_their_lengths(shards: str) -> None:
    (batch,) = batches(shards, {"text": TextDecoder()}, batch_size=8, samples=8)
    text, length = batch["text"], batch["text.length"]
    assert text.shape == batch["text.word"].shape == (8, int(length.max()))
    ends = text.gather(1, length[:, None] - 1)[:, 0]
    assert (ends == TextDecoder().vocabulary.sep_id).all()


def test_what_is_too_short_is_replaced_and_written_down(shards: str, tmp_path: Path) -> None:
    decode = {"text": TextDecoder(min_tokens=10)}
    path = tmp_path / "ledger.jsonl"
    made = batches(shards, decode, batch_size=20, samples=40, fault_budget=0.5, ledger=path)
    lengths = [int(n) for batch in made for n in batch["text.length"]]
    assert min(lengths) >= 12 and len(lengths) == 40
    faults = read_ledger(path)
    assert len({fault.key for fault in faults}) == 8 and "min_tokens 10" in faults[0].reason


def test_pairs_of_a_batch_exchange_their_second_segments(shards: str) -> None:
    decode = {"text": TextDecoder(pair="next", max_length=32)}
    (batch,) = batches(shards, decode, batch_size=8, samples=8, group=2)
    fields = {name: batch[name] for name in ("text", "text.type", "text.word")}
    keys: Keys = batch.keys(0, 0)
    made, length, follows = exchange(fields, batch["text.length"], keys)
    before = [batch["text"][row, :n].tolist() for row, n in enumerate(batch["text.length"].tolist())]
    after = [made["text"][row, :n].tolist() for row, n in enumerate(length.tolist())]
    for row in range(0, 8, 2):
        assert sorted(after[row] + after[row + 1]) == sorted(before[row] + before[row + 1])
        assert (after[row : row + 2] == before[row : row + 2]) == bool(follows[row])
