"""What plugins' tests read with: it ends, it repeats, it writes faults down, and it can fail."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import DataError, ExportError
from mmask.testing import batches, compared, read_ledger
from mmask.testing.shards import TinyDecoder, write_shards


def test_batches_end_and_repeat_with_any_workers(tmp_path):
    url = write_shards(tmp_path, [12, 12])
    one, two = (list(batches(url, {"t": TinyDecoder()}, batch_size=8, samples=24, workers=n)) for n in (0, 2))
    assert len(one) == len(two) == 3
    assert all((a.ids == b.ids).all() and torch.equal(a["pair"], b["pair"]) for a, b in zip(one, two, strict=True))
    other = list(batches(url, {"t": TinyDecoder()}, batch_size=8, samples=24, seed=1))
    assert any((a.ids != b.ids).any() for a, b in zip(one, other, strict=True))


def test_what_cannot_be_read_is_written_down_or_too_much(tmp_path):
    url, ledger = write_shards(tmp_path, [12]), tmp_path / "ledger.jsonl"
    decode = {"t": TinyDecoder(bad=["00003"])}
    assert len(list(batches(url, decode, batch_size=6, samples=12, fault_budget=0.5, ledger=ledger))) == 2
    assert {fault.key for fault in read_ledger(ledger)} == {"00003"}
    with pytest.raises(DataError):
        list(batches(url, decode, batch_size=6, samples=12, fault_budget=0.0))


def test_sides_that_differ_are_refused():
    ours = {"x": torch.tensor([1.0, 2.0])}
    assert compared(ours, {"x": torch.tensor([1.0, 2.0 + 1e-6])}, 1e-5)[0].name == "x"
    for theirs in ({"x": torch.tensor([1.0, 2.1])}, {"y": ours["x"]}, {"x": torch.zeros(3)}):
        with pytest.raises(ExportError):
            compared(ours, theirs, 1e-5)
