"""Tensors of files and of folders that other libraries wrote."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from mmask.errors import CheckpointError
from mmask.export.reading import read_tensors


def test_a_folder_is_read_whole_in_one_file_or_in_several(tmp_path):
    one, two = {"a": torch.ones(2)}, {"b": torch.zeros(3)}
    save_file(one, tmp_path / "model-00001-of-00002.safetensors")
    save_file(two, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="has neither"):
        read_tensors(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_tensors(tmp_path)
    assert found.keys() == {"a", "b"} and torch.equal(found["a"], one["a"])
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_tensors(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no index of tensors"):
        read_tensors(tmp_path)
    torch.save({"model": {"c": torch.ones(1)}}, tmp_path / "pytorch_model.bin")
    assert read_tensors(tmp_path, inner=("model",)).keys() == {"c"}
