"""The loader of golden files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from mmask.testing.golden import assert_close, golden_files, load_golden, relative_error


def test_parts_configuration_and_precision(tmp_path):
    tensors = {
        "weights/a.b": torch.ones(2), "inputs/x": torch.arange(3), "outputs/loss": torch.tensor(1.5),
        "grads/loss/a.b": torch.zeros(2),
    }
    meta = {"config": json.dumps({"depth": 2}), "scalars_float64": json.dumps({"loss": 1.5})}
    save_file(tensors, tmp_path / "m.safetensors", metadata=meta)
    file = load_golden(tmp_path / "m.safetensors")
    assert file.config == {"depth": 2}
    assert file.scalars == {"loss": 1.5}
    assert file.weights["a.b"].dtype == torch.float64
    assert file.inputs["x"].dtype == torch.int64
    assert file.grads["loss"]["a.b"].shape == (2,)


def test_variants_are_found_but_not_other_methods(tmp_path, monkeypatch):
    for name in ("mae", "mae_wide", "mae-2", "maeve", "bert"):
        save_file({"outputs/x": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    monkeypatch.delenv("MMASK_GOLDEN", raising=False)
    assert [path.stem for path in golden_files("mae", tmp_path)] == ["mae-2", "mae", "mae_wide"]
    monkeypatch.setenv("MMASK_GOLDEN", str(tmp_path))
    assert len(golden_files("mae", tmp_path / "nowhere")) == 3


def test_agreement_is_relative_to_the_largest_magnitude_and_nan_never_agrees():
    want = torch.tensor([100.0, 1e-9], dtype=torch.float64)
    assert relative_error(want + 1e-5, want) == pytest.approx(1e-7, rel=1e-3)
    assert_close("x", want + 1e-5, want)
    with pytest.raises(AssertionError, match=r"x: relative error"):
        assert_close("x", want + 1e-3, want)
    with pytest.raises(AssertionError, match="nan"):
        assert_close("x", want * float("nan"), want)
    with pytest.raises(AssertionError, match="shape"):
        assert_close("x", want[:1], want)
