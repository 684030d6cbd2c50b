"""Starting weights: what fits is copied, what does not is listed, nothing fits is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from mmask.errors import CheckpointError
from mmask.recipe.schema import Spec
from mmask.testing.toy import toy_model
from mmask.train.checkpoint import Checkpoint, save
from mmask.train.weights import init_model, init_network, run_weights


class NoPlugins:
    def each(self, kind: str) -> list[str]:
        return []


def equal(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    theirs = two.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_a_file_of_the_whole_model_fills_it(tmp_path: Path) -> None:
    one, two = toy_model(), toy_model()
    save_file(one.state_dict(), tmp_path / "w.safetensors")
    lines = init_model(two, str(tmp_path / "w.safetensors"), NoPlugins())
    assert equal(one, two)
    assert any(f"loaded {len(one.state_dict())} of {len(one.state_dict())} tensors" in line for line in lines)
    assert not any("missing" in line or "unexpected" in line for line in lines)


def test_a_file_of_the_encoder_fills_the_encoder_and_lists_the_rest(tmp_path: Path) -> None:
    one, two = toy_model(), toy_model()
    weights = dict(one.encoder.state_dict(), extra=torch.zeros(1))
    del weights["up.bias"]
    save_file(weights, tmp_path / "w.safetensors")
    lines = init_model(two, str(tmp_path / "w.safetensors"), NoPlugins())
    assert torch.equal(one.encoder.mix.weight, two.encoder.mix.weight)
    assert "  missing 1: up.bias" in lines
    assert "  unexpected 1: extra" in lines


def test_another_shape_is_an_error_and_copies_nothing(tmp_path: Path) -> None:
    model = toy_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(toy_model(width=9).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="another shape"):
        init_model(model, str(tmp_path / "w.safetensors"), NoPlugins())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_file_that_fits_nothing_and_a_missing_one_are_errors(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="no weights format fits"):
        init_model(toy_model(), str(tmp_path / "w.safetensors"), NoPlugins())
    with pytest.raises(CheckpointError, match="no run or file"):
        init_model(toy_model(), str(tmp_path / "nothing"), NoPlugins())


def test_a_run_gives_its_average_unless_told_otherwise(tmp_path: Path) -> None:
    one, two = toy_model(), toy_model()
    save(tmp_path / "checkpoints", Checkpoint(1, {"model": dict(one.state_dict()), "ema": dict(two.state_dict())}))
    name = "networks.encoder.mix.weight"
    assert torch.equal(run_weights(tmp_path)[name], two.encoder.mix.weight)
    assert torch.equal(run_weights(tmp_path, ema=False)[name], one.encoder.mix.weight)
    three = toy_model()
    init_network(three, "encoder", str(tmp_path), NoPlugins())
    assert equal(three.encoder, two.encoder)
    assert not equal(three.objectives["vectors"], two.objectives["vectors"])


class Format:
    """A weights format that writes ``value`` into one tensor, or nothing without one."""

    def __init__(self, value: float | None) -> None:
        self.value = value

    def read(self, path: Path) -> dict[str, torch.Tensor]:
        return {"theirs": torch.zeros(1)}

    def load(self, model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> Iterator[str]:
        if self.value is not None:
            with torch.no_grad():
                model.encoder.mix.weight.fill_(self.value)
        yield "missing: the rest"


class Formats:
    """A host of formats by name, each claimed from a package."""

    def __init__(self, **formats: tuple[str, float | None]) -> None:
        self.formats = formats

    def each(self, kind: str) -> list[str]:
        return sorted(self.formats)

    def find(self, kind: str, name: str) -> SimpleNamespace:
        return SimpleNamespace(component=SimpleNamespace(target=f"{self.formats[name][0]}.weights:Format"))

    def build(self, kind: str, spec: Spec) -> Format:
        return Format(self.formats[spec.use][1])


def test_formats_of_the_networks_own_package_come_first_and_one_that_loads_nothing_is_passed_by(tmp_path: Path) -> None:
    model, path = toy_model(), tmp_path / "w.bin"
    path.write_bytes(b"")
    own = type(model.encoder).__module__.partition(".")[0]
    lines = init_model(model, str(path), Formats(a=("another", 1.0), b=(own, None), c=(own, 2.0)))
    assert lines == [f"weights of {path}, read as 'c'", "  missing: the rest"]
    assert (model.encoder.mix.weight == 2).all()
    with pytest.raises(CheckpointError, match="no weights format fits") as caught:
        init_model(model, str(path), Formats(b=(own, None)))
    assert "b: nothing in it fits" in str(caught.value.hint)


def test_a_file_that_shares_a_name_by_chance_is_a_formats_to_read(tmp_path: Path) -> None:
    model = toy_model()
    weights = {"mix.weight": torch.zeros_like(model.encoder.mix.weight), "a": torch.zeros(1), "b": torch.zeros(1)}
    save_file(weights, tmp_path / "w.safetensors")
    lines = init_model(model, str(tmp_path / "w.safetensors"), Formats(c=("another", 2.0)))
    assert "read as 'c'" in lines[0] and (model.encoder.mix.weight == 2).all()
    lines = init_model(model, str(tmp_path / "w.safetensors"), NoPlugins())  # no format knows it: what fits is taken
    assert "  unexpected 2: a, b" in lines and (model.encoder.mix.weight == 0).all()
