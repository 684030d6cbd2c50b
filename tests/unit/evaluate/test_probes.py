"""Evaluators of fixed features, on features whose answer is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from mmask.errors import RecipeError
from mmask.evaluate.attentive import AttentiveProbe, QueryHead
from mmask.evaluate.heads import Course, batches
from mmask.evaluate.knn import NearestNeighbours
from mmask.evaluate.linear import LinearProbe
from mmask.types import Labelled, Verdict


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clouds(count: int, seed: int, *, spread: float = 0.3, classes: int = 3, width: int = 8) -> Labelled:
    made = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    features = centres[labels] + spread * torch.randn(count, width, generator=made)
    return Labelled(labels, classes, torch.arange(count) + seed * 10_000, features=features)


def accuracy(verdict: Verdict, test: Labelled) -> float:
    return float((verdict.scores.argmax(1) == test.labels).double().mean())


def test_neighbours_agree_with_a_library_that_weighs_them_alike() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    fit, test = clouds(60, 1, spread=1.0), clouds(45, 2, spread=1.0)
    ours = NearestNeighbours(k=7, temperature=0.1)(fit, test, seed=0)
    theirs = KNeighborsClassifier(7, metric="cosine", weights=lambda far: torch.tensor((1 - far) / 0.1).exp().numpy())
    theirs.fit(fit.features.numpy(), fit.labels.numpy())
    share = torch.from_numpy(theirs.predict_proba(test.features.numpy())).float()
    torch.testing.assert_close(F.normalize(ours.scores, p=1, dim=1), share, rtol=1e-3, atol=1e-4)


def test_neighbours_do_not_overflow_at_small_temperatures_and_large_k() -> None:
    fit, test = clouds(9, 1), clouds(9, 2)
    found = NearestNeighbours(k=1000, temperature=1e-3)(fit, test, seed=0)
    assert found.about["k"] == 9
    assert torch.isfinite(found.scores).all() and accuracy(found, test) == 1


def test_a_linear_probe_finds_directions_of_small_variance_that_neighbours_miss() -> None:
    """What the page about evaluation says of masked autoencoders."""
    def hidden(data: Labelled, seed: int) -> Labelled:
        noise = 30 * torch.randn(len(data), 24, generator=torch.Generator().manual_seed(seed))
        return dataclasses.replace(data, features=torch.cat([data.features, noise], 1))

    fit, test = hidden(clouds(300, 1), 3), hidden(clouds(150, 2), 4)
    linear = accuracy(LinearProbe(epochs=30, batch=64)(fit, test, seed=0), test)
    knn = accuracy(NearestNeighbours()(fit, test, seed=0), test)
    assert linear > 0.95
    assert knn < 0.6


def test_the_scale_of_features_does_not_matter_to_a_linear_probe() -> None:
    fit, test = clouds(120, 1, spread=1.0), clouds(90, 2, spread=1.0)
    judge = LinearProbe(epochs=10, batch=32, lrs=(0.1,))
    plain = judge(fit, test, seed=0).scores
    scale = torch.logspace(1, 4, 8)
    moved = [dataclasses.replace(data, features=data.features * scale + 100) for data in (fit, test)]
    torch.testing.assert_close(judge(*moved, seed=0).scores, plain, rtol=1e-2, atol=1e-2)


def test_the_learning_rate_is_chosen_and_reported_and_labels_of_the_test_set_are_not_used() -> None:
    fit, test = clouds(120, 1), clouds(60, 2)
    judge = LinearProbe(epochs=5, batch=32, lrs=(1e-9, 0.1))
    found = judge(fit, test, seed=0)
    assert found.about["lr"] == 0.1 and set(found.about["tried"]) == {"1e-09", "0.1"}
    blind = dataclasses.replace(test, labels=torch.zeros_like(test.labels))
    assert torch.equal(judge(fit, blind, seed=0).scores, found.scores)
    assert not torch.equal(judge(fit, test, seed=1).scores, found.scores)


def test_the_random_state_of_the_caller_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    LinearProbe(epochs=1)(clouds(12, 1), clouds(6, 2), seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_label_a_class_still_trains() -> None:
    fit, test = clouds(3, 1), clouds(30, 2)
    found = LinearProbe(epochs=20)(fit, test, seed=0)
    assert "tried" not in found.about and accuracy(found, test) > 0.8


def test_a_query_finds_the_one_place_that_says_the_class() -> None:
    def scenes(count: int, seed: int) -> Labelled:
        made = torch.Generator().manual_seed(seed)
        flat = clouds(count, seed, spread=0.1)
        places = torch.randn(count, 12, 16, generator=made)
        places[..., 8:] = 0
        at = torch.randint(12, (count,), generator=made)
        places[torch.arange(count), at] = torch.cat([flat.features, torch.full((count, 8), 3.0)], 1)
        return Labelled(flat.labels, flat.classes, flat.ids, places=places, features=places.mean(1))

    fit, test = scenes(300, 1), scenes(150, 2)
    attentive = accuracy(AttentiveProbe(heads=4, epochs=30, batch=64, lrs=(3e-3,))(fit, test, seed=0), test)
    linear = accuracy(LinearProbe(epochs=30, batch=64)(fit, test, seed=0), test)
    assert attentive > 0.9
    assert attentive > linear + 0.1


def test_padding_is_invisible_to_the_query() -> None:
    head = QueryHead(12, 3, heads=5).eval()
    places, valid = torch.randn(2, 6, 12), torch.ones(2, 6, dtype=torch.bool)
    valid[1, 4:] = False
    changed = places.clone()
    changed[1, 4:] = 1e3
    torch.testing.assert_close(head(changed, valid), head(places, valid))
    torch.testing.assert_close(head(places, valid)[1:], head(places[1:, :4], valid[1:, :4]))


@pytest.mark.parametrize("count", [2, 3, 5, 64, 65, 129])
def test_every_sample_comes_once_an_epoch_and_no_batch_has_one_sample(count: int) -> None:
    found = list(batches(count, 64, 2, 0))
    assert min(len(index) for index in found) >= 2 and max(len(index) for index in found) <= 65
    assert sorted(torch.cat(found).tolist()) == sorted([*range(count), *range(count)])


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    course = Course((0.1,), 10, 8, "sgd", 0.0, warmup=2)
    factors = [course.lr(i / 100) for i in range(101)]
    assert factors[0] == 0 and max(factors) == pytest.approx(1, abs=0.01) and factors[-1] == pytest.approx(0, abs=1e-9)
    assert factors[:20] == sorted(factors[:20]) and factors[21:] == sorted(factors[21:], reverse=True)


def test_options_that_cannot_work_are_refused() -> None:
    for make in (lambda: LinearProbe(lrs=()), lambda: LinearProbe(batch=1), lambda: NearestNeighbours(k=0)):
        with pytest.raises(RecipeError):
            make()
