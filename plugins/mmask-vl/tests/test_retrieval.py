"""Retrieval with UNITER and LXMERT: pairs scored from halves are pairs scored whole, and the command says so."""

from __future__ import annotations

import json

import pytest
import torch

from mmask import testing
from mmask.api import every_pair
from mmask.testing import mmask
from mmask_vl.dataset import emoji_regions

SMALL = {
    "uniter-tiny": ["networks.encoder.width=32", "networks.encoder.depth=2", "networks.encoder.heads=2"],
    "lxmert-tiny": [
        "networks.encoder.width=32", "networks.encoder.heads=2", "networks.encoder.language=1",
        "networks.encoder.objects=1", "networks.encoder.cross=1",
    ],
}
OBJECTIVE = {"uniter-tiny": "itm", "lxmert-tiny": "matching"}


def some(name, count):
    made = testing.recipe(name)
    decode = {part: testing.component("decoder", spec.use, **spec.options()) for part, spec in made.data.decode.items()}
    url = "{" + ",".join(emoji_regions()["val"]) + "}" if len(emoji_regions()["val"]) > 1 else emoji_regions()["val"][0]
    return next(testing.batches(url, decode, batch_size=count, samples=count))


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("fast", [True, False])
def test_a_pair_scored_from_its_halves_is_the_pair_scored_whole(name, fast):
    model = testing.build(name, overrides=[*SMALL[name], f"networks.encoder.fast={str(fast).lower()}"]).double().eval()
    batch = some(name, 5)
    objective, network = model.objectives[OBJECTIVE[name]], model.network("encoder")
    scene = model.scene(batch, {})
    assert objective.sides == ("text", "regions")
    halves = [objective.side(scene, stream) for stream in objective.sides]
    whole, joined = scene.encode("encoder", "clean"), network.join(*halves)
    torch.testing.assert_close(joined.pooled, whole.pooled)
    for stream, part in whole.streams.items():
        layout = part.layout
        valid = torch.ones(layout.batch, layout.length, dtype=torch.bool) if layout.valid is None else layout.valid
        torch.testing.assert_close(joined.stream(stream).places[valid], part.places[valid])
    scores = objective.pair_scores(model, *halves)
    assert scores.shape == (5, 5)
    torch.testing.assert_close(scores.diagonal(), objective.own(whole))
    first, second = every_pair(*halves)
    torch.testing.assert_close(scores.flatten(), objective.own(network.join(first, second)))


def test_the_command_judges_a_run_and_writes_galleries(tmp_path):
    run = tmp_path / "run"
    assert mmask(
        "train", "--recipe", "uniter-tiny", "--steps", 2, "--out", run, "--batch-size", 8, "--workers", 0, "--device",
        "cpu", "train.val_samples=8", *SMALL["uniter-tiny"],
    ) == 0
    out = tmp_path / "found.json"
    words = ("eval", "retrieval", run, "--device", "cpu", "--out", out, "--limit", 24, "gallery=2", "chunk=100")
    assert mmask(*words, "epochs=1", "batch=8") == 0
    (result,) = json.loads(out.read_text())["results"]
    assert result["data"]["fit_samples"] == 24 and result["data"]["test_samples"] == 24
    assert result["seeds"][0]["about"]["compared"] == {"text": 24, "regions": 24}
    assert 0 <= result["summary"]["text_r10"]["mean"] <= 1
    assert {path.name for path in tmp_path.glob("found*.png")} == {"found-text.png", "found-regions.png"}
    train = emoji_regions()["train"][0]
    assert mmask(*words, "epochs=1", "batch=8", "--data", train) == 2
