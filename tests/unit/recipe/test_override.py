"""Overrides: values as TOML types them, keys checked, nearest keys named in full."""

from __future__ import annotations

import math

import pytest

from mmask.errors import UnknownNameError, UsageError
from mmask.recipe.override import check_key, parse, parse_value
from mmask.testing import fakes

TREE = fakes.tiny().model_dump()


@pytest.mark.parametrize(("text", "value"), [
    ("2e-5", 2e-5), ("1e-4", 1e-4), (".5", 0.5), ("3.", 3.0), ("7", 7), ("-1", -1), ("1_000", 1000), ("true", True),
    ("[0.9, 0.95]", [0.9, 0.95]), ('"7"', "7"), ("block", "block"), ("image/patch", "image/patch"), ("none", None),
    ("shards/train-{000..127}.tar", "shards/train-{000..127}.tar"), ("{a = 1}", {"a": 1}), ("", ""),
    ("2026-01-01", "2026-01-01"), ("a = b", "a = b"), ("1\nx = 2", "1\nx = 2"), ("inf", math.inf), ("1e400", math.inf),
])
def test_values_are_typed_as_in_toml(text, value):
    made = parse_value(text)
    assert made == value
    assert type(made) is type(value)


def test_an_override_is_a_path_and_a_value():
    assert parse("optim.lr=2e-5") == (("optim", "lr"), 2e-5)
    assert parse("data.url=a=b") == (("data", "url"), "a=b")


@pytest.mark.parametrize("text", ["optim.lr", "=3", "optim..lr=3", ".=1"])
def test_what_is_no_override_says_how_to_write_one(text):
    with pytest.raises(UsageError, match="is not an override"):
        parse(text)


@pytest.mark.parametrize("key", [
    "optim.lr", "mask.ratio", "mask.anything", "mask.inner.deep", "networks.encoder.depth", "views.masked.corrupt.use",
    "train.trackers.0.use", "objectives.vectors.head.width", "networks.new.use", "data.train.0.url",
])
def test_existing_keys_and_options_of_components_pass(key):
    check_key(tuple(key.split(".")), TREE)


@pytest.mark.parametrize(("key", "near"), [
    ("optim.lrr", "optim.lr"), ("lr", "optim.lr"), ("optm.lr", "optim.lr"), ("batch_size", "data.batch_size"),
    ("data.batchsize", "data.batch_size"), ("schedule.epoch", "schedule.epochs"), ("train.see", "train.seed"),
    ("views.masked.corupt", "views.masked.corrupt"), ("objectives.vectors.weigth", "objectives.vectors.weight"),
    ("optim.lr.x", "optim.lr"), ("ratio", "mask.ratio"),
    ("objectives.vectors.targett.use", "objectives.vectors.target.use"), ("opitm.clip", "optim.clip"),
])
def test_an_unknown_key_names_the_nearest_in_full(key, near):
    with pytest.raises(UnknownNameError) as caught:
        check_key(tuple(key.split(".")), TREE)
    assert f"no key '{key}' (did you mean '{near}'?)" in str(caught.value)


def test_a_key_far_from_all_names_what_there_is():
    with pytest.raises(UnknownNameError) as caught:
        check_key(("optim", "zzzzzz"), TREE)
    assert "did you mean" not in str(caught.value)
    assert "weight_decay" in str(caught.value)
