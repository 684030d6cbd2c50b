"""The weighted sum of layers, and evaluators that measure by themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.errors import DataError, UsageError
from mmask.evaluate.score import Result, measure
from mmask.evaluate.show import write_results
from mmask.evaluate.weighted import LayerSum, WeightedLayers
from mmask.train.features import layer_taps
from mmask.types import Labelled, Verdict


def layered(count: int, seed: int, *, where: int = 1, scale: float = 1.0) -> Labelled:
    """The class is in one of four layers; the others are noise."""
    made = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % 3
    layers = 2 * torch.randn(count, 4, 8, generator=made)
    layers[:, where] = centres[labels] + 0.3 * torch.randn(count, 8, generator=made)
    layers[:, 3] *= scale
    return Labelled(labels, 3, torch.arange(count) + 1000 * seed, layers=layers)


@pytest.mark.parametrize("where", [0, 2])
def test_the_layer_that_knows_gets_the_largest_share(where):
    fit, test = layered(150, 1, where=where), layered(90, 2, where=where)
    found = WeightedLayers(epochs=40, lrs=(3e-2,), device="cpu")(fit, test, seed=0)
    shares = found.about["layers"]
    assert len(shares) == 4 and sum(shares) == pytest.approx(1, abs=1e-3)
    assert max(range(4), key=shares.__getitem__) == where and shares[where] > 0.4
    assert float((found.scores.argmax(1) == test.labels).double().mean()) > 0.9


def test_numbers_are_predicted_from_the_layer_that_knows():
    fit, test = (replace(layered(n, s), labels=torch.zeros(n), classes=0) for n, s in ((150, 1), (90, 2)))
    fit, test = (replace(one, labels=3 * one.layers[:, 1, 0] + 7) for one in (fit, test))
    found = WeightedLayers(epochs=200, lrs=(3e-2,), device="cpu")(fit, test, seed=0)
    assert found.scores.shape == (90, 1)
    assert measure(found, fit, test, 0, ("spearman",)).numbers["spearman"] > 0.8


def test_weights_start_equal_and_norms_take_away_scale():
    states = list(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(LayerSum(3)(states), torch.stack(states).mean(0))
    loud = [states[0] * 100, *states[1:]]
    assert not torch.allclose(LayerSum(3)(loud), LayerSum(3)(states), rtol=0.1)
    one, other = LayerSum(3, normalise=True)(loud), LayerSum(3, normalise=True)(states)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_a_network_that_does_not_name_its_layers_is_refused():
    assert layer_taps(SimpleNamespace(layer_taps=("a", "b"))) == ("a", "b")
    with pytest.raises(UsageError, match="does not name its layers"):
        layer_taps(torch.nn.Linear(2, 2))


def test_an_evaluator_may_bring_its_own_numbers(tmp_path):
    some = Labelled(torch.zeros(4, dtype=torch.int64), 1, torch.arange(4), rows=torch.arange(4))
    one = measure(Verdict(None, {"epochs": 2}, numbers={"wer": 0.25, "cer": 0.1}), some, some, 0)
    other = measure(Verdict(None, numbers={"wer": 0.35, "cer": 0.2}), some, some, 1)
    result = Result("ctc", "a", "run", 3, "trained", "encoder", "auto", {}, "all", {}, [0], [one, other])
    assert result.metrics == ["wer", "cer"] and result.confusion is None
    assert result.spread().mean == pytest.approx(0.3) and result.spread().half > 0
    files = write_results(tmp_path / "out.json", [result])
    assert files == [tmp_path / "out.json"]  # there is nothing to draw
    told = json.loads(files[0].read_text())["results"][0]
    assert told["seeds"][0]["wer"] == 0.25 and "confusion" not in told
    assert np.isclose(told["summary"]["cer"]["mean"], 0.15)
    with pytest.raises(DataError, match="neither scores nor numbers"):
        measure(Verdict(None), some, some, 0)
