"""Files of every format, whole, in stretches, and damaged."""

from __future__ import annotations

import numpy as np
import pytest

from mmask.api import SampleError
from mmask_audio.sound import _Libsndfile, open_sound
from mmask_audio.stretch import length_at, read_stretch


def whole(data, extension):
    """All samples of a file."""
    sound = open_sound(data, extension)
    return sound.read(0, sound.frames)


FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "g722", "m4a")


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_comes_back_as_it_was(extension, tone, stored):
    wave = tone(1.0)
    sound = open_sound(stored(wave, extension), extension)
    assert (sound.rate, sound.channels) == (16_000, 1)
    assert abs(sound.frames - len(wave)) < 3000  # lossy codecs add a delay and fill up their last frame
    read = sound.read(0, sound.frames)
    assert read.shape == (sound.frames, 1)
    assert read.dtype == np.float32
    spectrum, wanted = (np.abs(np.fft.rfft(one, 32_768)) for one in (read[:, 0], wave))
    assert np.dot(spectrum, wanted) / np.linalg.norm(spectrum) / np.linalg.norm(wanted) > 0.98


DAMAGE = [
    (extension, damage) for extension in FORMATS for damage in ("garbage", "half", "empty", "head")
    if extension != "g722" or damage == "empty"  # of a raw stream without a header any bytes are sound
]


@pytest.mark.parametrize(("extension", "damage"), DAMAGE)
def test_damage_is_the_samples_fault(extension, damage, tone, stored):
    data = stored(tone(1.0), extension)
    rng = np.random.default_rng(1)
    bad = {
        "garbage": rng.integers(0, 256, 4000, np.uint8).tobytes(), "half": data[: len(data) // 2], "empty": b"",
        "head": data[:20],
    }[damage]
    if damage == "half" and extension == "ogg":
        sound = open_sound(bad, extension)  # pages that are whole, and nothing says how many there were
        assert sound.read(0, sound.frames).shape[0] == sound.frames < 16_000
        return
    with pytest.raises(SampleError):
        whole(bad, extension)


@pytest.mark.parametrize("stored_rate", [16_000, 44_100, 22_050, 8_000, 11_025])
@pytest.mark.parametrize("start", [0, 1, 7_919])
def test_a_stretch_is_that_part_of_the_whole(stored_rate, start, tone, stored):
    sound = open_sound(stored(tone(2.0, stored_rate), "wav", stored_rate), "wav")
    assert length_at(sound, 16_000) == 32_000
    whole = read_stretch(sound, 16_000, 0, 32_000)
    part = read_stretch(sound, 16_000, start, 4_000)
    assert part.shape == (1, 4_000)
    assert np.abs(part - whole[:, start : start + 4_000]).max() < 2e-5


def test_only_the_stretch_is_decoded(tone, stored, monkeypatch):
    asked = []
    plain = _Libsndfile.read
    monkeypatch.setattr(_Libsndfile, "read", lambda self, a, n: asked.append((a, n)) or plain(self, a, n))
    sound = open_sound(stored(tone(8.0, 48_000), "flac", 48_000), "flac")
    read_stretch(sound, 16_000, 64_000, 1_600)
    ((start, count),) = asked
    assert 64_000 * 3 - 2_500 < start <= 64_000 * 3
    assert count < 1_600 * 3 + 6_000


def test_channels(tone, stored):
    pair = np.stack([tone(0.5, seed=1), tone(0.5, seed=2)], axis=1)
    sound = open_sound(stored(pair), "wav")
    first, both, mean = (read_stretch(sound, 16_000, 0, 8_000, how) for how in ("first", "stereo", "mono"))
    np.testing.assert_array_equal(both, pair.T)
    np.testing.assert_array_equal(first, pair.T[:1])
    np.testing.assert_allclose(mean, pair.T.mean(0, keepdims=True), atol=1e-7)
    alone = read_stretch(open_sound(stored(pair[:, 0]), "wav"), 16_000, 0, 100, "stereo")
    np.testing.assert_array_equal(alone[0], alone[1])
    with pytest.raises(SampleError, match="no stereo"):
        read_stretch(open_sound(stored(np.tile(pair, 2)), "wav"), 16_000, 0, 100, "stereo")


def test_a_bomb_is_refused_before_memory_is_taken(tone, stored, monkeypatch):
    monkeypatch.setattr("mmask_audio.sound._MOST", 4_000)
    for extension in ("flac", "m4a"):
        data = stored(tone(1.0), extension)
        with pytest.raises(SampleError, match="decoded at once"):
            whole(data, extension)


def test_a_wav_of_no_stated_size_is_read_and_a_torn_one_is_not(tone, stored):
    data = bytearray(stored(tone(0.2)))
    at = data.index(b"data") + 4
    piped = bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
    sound = open_sound(piped, "wav")
    assert sound.read(0, sound.frames).shape == (3_200, 1)
    with pytest.raises(SampleError, match=r"cut off: .* bytes"):
        open_sound(bytes(data[:-2]), "wav")
