"""Packing recordings, and the sheet that shows them."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmask.api import Batch, RecipeError, SampleError, open_source
from mmask.testing import mmask
from mmask_audio.features import StoredFeatures
from mmask_audio.pack import AudioPacker


@pytest.fixture
def folder(tmp_path, tone, stored):
    """Six recordings at 44.1 kHz with a manifest, and one that is no recording."""
    rows = []
    for number in range(6):
        path = tmp_path / "in" / f"{number}.{'mp3' if number == 1 else 'wav'}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(stored(tone(0.3 + 0.1 * number, 44_100, number), path.suffix[1:], 44_100))
        rows.append({"path": f"in/{path.name}", "transcript": f"word {number}", "label": "ab"[number % 2],
                     "speaker": f"p{number % 3}"})
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
    rows.append({"path": "in/bad.wav", "transcript": "none", "label": "a", "speaker": "p0"})
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def samples(out):
    return list(open_source(str(out / "train-000000.tar"), "s"))


def test_recordings_are_kept_byte_for_byte_with_text_label_and_length(folder, capsys):
    assert mmask("data", "pack", folder / "list.csv", "--out", folder / "out", "--packer", "audio/audio") == 0
    found = samples(folder / "out")
    assert len(found) == 6
    for one in found:
        about = json.loads(one.parts["json"])
        number = int(one.parts["txt"].split()[1])
        name = "mp3" if number == 1 else "wav"
        assert one.parts[name] == (folder / "in" / f"{number}.{name}").read_bytes()
        assert about["speaker"] == f"p{number % 3}"
        assert about["rate"] == 44_100
        assert abs(about["seconds"] - (0.3 + 0.1 * number)) < 0.1
        assert int(one.parts["cls"]) == number % 2
        assert "transcript" not in about
    source = open_source(str(folder / "out" / "train-000000.tar"), "s", filters=["seconds >= 0.55"])
    assert len(source) == 3  # the index has the column
    assert "bad.wav" in (folder / "out" / "pack-failed.jsonl").read_text()
    capsys.readouterr()


def test_recordings_become_flac_of_one_rate_with_features(folder, capsys):
    words = ["data", "pack", str(folder / "in"), "--out", str(folder / "out"), "--packer", "audio/audio",
             "--rate", "16000", "--features", "fbank", "--bins", "40", "--half", "false"]
    assert mmask(*words) == 0
    for one in samples(folder / "out"):
        wave, rate = soundfile.read(io.BytesIO(one.parts["flac"]), dtype="float32")
        assert rate == 16_000
        assert wave.ndim == 1
        frames = StoredFeatures()(one, None)["features"]
        assert frames.shape == (1 + (len(wave) - 400) // 160, 40)
        assert set(one.parts) == {"flac", "fbank.npy", "json"}
    capsys.readouterr()


def test_features_alone_and_what_cannot_be(folder):
    parts = AudioPacker(features="mel", audio=False)(folder / "in" / "0.wav", {})
    assert set(parts) == {"mel.npy", "json"}
    assert np.load(io.BytesIO(parts["mel.npy"])).dtype == np.float16
    with pytest.raises(RecipeError, match="nothing to store"):
        AudioPacker(audio=False)
    with pytest.raises(RecipeError):
        AudioPacker(rate=0)
    with pytest.raises(SampleError, match="too short"):
        AudioPacker(min_seconds=5.0)(folder / "in" / "0.wav", {})
    with pytest.raises(SampleError, match=r"bad\.wav"):
        AudioPacker()(folder / "in" / "bad.wav", {})


def test_the_sheet_shows_recordings_and_crosses_out_what_is_none(folder, tone, stored, capsys):
    out = folder / "out"
    assert mmask("data", "pack", folder / "list.csv", "--out", out, "--packer", "audio/audio") == 0
    picture = folder / "sheet.png"
    assert mmask("data", "inspect", out / "train-000000.tar", "--out", picture) == 0
    assert "column" in capsys.readouterr().out
    shown = np.asarray(Image.open(picture))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 100

    from mmask_audio.sheet import AudioSheet

    fields = {"wav": [stored(tone(0.01)), b"no sound"], "txt": [b"hum", None], "json": [b"{", None]}
    drawn = AudioSheet(columns=2)(None, Batch(fields, np.arange(2, dtype=np.uint64), np.zeros(2, np.int64), ("a", "b")))
    red = (drawn == (255, 238, 238)).all(-1)
    assert red[:, : drawn.shape[1] // 2].sum() == 0
    assert red[:, drawn.shape[1] // 2 :].sum() > 1_000
