"""However loader workers begin, forked or afresh, they make the same batches and packs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mmask.testing import ragged
from mmask.testing.shards import write_shards

SPAWNED = """
import sys, torch
from mmask.data.bundle import Rule
from mmask.data.loader import Loader
from mmask.data.source import open_source
from mmask.data.stream import Stream
from mmask.testing import ragged
from mmask.testing.shards import TinyDecoder

RULE = Rule("x", 16, length=24)

def tiny(**how):
    stream = Stream([open_source(sys.argv[1], "s")], seed=2, streams=8, shuffle=16)
    return Loader(stream, {"tiny": TinyDecoder(["00005"])}, batch_size=8, limit=48, seed=2, fault_budget=0.5, **how)

def packs(**how):
    stream = Stream([open_source(sys.argv[2], "s")], seed=2, streams=8, shuffle=16)
    return Loader(stream, {"x": ragged.RaggedDecoder()}, batch_size=4, limit=16, seed=2, rule=RULE, **how)

def read(made, **how):
    with made(**how) as loader:
        return [(batch.names, batch.packs, batch.fields) for batch in loader], loader.faults

def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    return bool((one == other).all()) if hasattr(one, "all") else one == other

if __name__ == "__main__":
    for made in (tiny, packs):
        want = read(made)
        for start in ("fork", "spawn"):
            got = read(made, workers=2, worker_start=start)
            assert got[1] == want[1], start
            assert same(want[0], got[0]), start
    print("the same", len(want[0]))
"""


def test_workers_that_begin_afresh_make_the_same_batches(tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    tiny, lengths = write_shards(tmp_path, [40, 24]), ragged.shards(tmp_path / "ragged")
    done = subprocess.run(
        [sys.executable, str(script), tiny, lengths], capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "4"
