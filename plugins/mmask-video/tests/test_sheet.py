"""Stored videos on a sheet, as ``mmask data inspect`` draws them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmask.api import Batch, open_source
from mmask.testing import mmask
from mmask_video.dataset import moving_emoji
from mmask_video.sheet import VideoSheet


def batch_of(*films: bytes | None) -> Batch:
    count = len(films)
    return Batch({"mp4": list(films), "json": [b'{"caption": "it moves"}'] * count},
                 np.arange(count, dtype=np.uint64), np.zeros(count, np.int64), tuple(f"k{i}" for i in range(count)))


def test_frames_stand_side_by_side_and_what_is_damaged_is_a_crossed_box():
    film = open_source(moving_emoji()["val"][0]).read(0).parts["mp4"]
    whole, damaged, absent = (VideoSheet(side=40)(None, batch_of(one)) for one in (film, b"no film", None))
    assert whole.shape == (2 * 8 + 40 + 26, 4 * 40 + 16, 3)
    assert damaged[8, 8].tolist() == [204, 0, 0] and absent[8, 8].tolist() == [204, 0, 0]
    assert whole[8, 8].tolist() != [204, 0, 0] and len(np.unique(whole[8:48, 8:168].reshape(-1, 3), axis=0)) > 10


def test_inspect_draws_films_by_their_pictures(tmp_path):
    pytest.importorskip("mmask_audio")
    assert mmask("data", "inspect", moving_emoji()["val"][0], "--out", tmp_path / "sheet.png") == 0
    assert (np.asarray(Image.open(tmp_path / "sheet.png")) == (204, 0, 0)).all(-1).sum() < 5
