"""Decoders of features: frames, padding, normalisation, SpecAugment, and stored arrays."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from mmask.api import RecipeError, SampleError, single
from mmask.testing import component
from mmask_audio.fbank import KaldiFbank, LogMel
from mmask_audio.features import FbankDecoder, MelDecoder, StoredFeatures


def npy(array):
    to = io.BytesIO()
    np.save(to, array)
    return to.getvalue()


def test_ssast_is_cut_or_filled_up_before_it_is_normalised(tone, stored, sample):
    decode = FbankDecoder(frames=128, pad=True, mean=-4.2677393, std=4.5689974, spread=2.0, crop="start")
    wave = tone(0.5)
    made = decode(sample(wav=stored(wave)), None)
    frames = KaldiFbank()(torch.from_numpy(wave - wave.mean()))
    assert made["features"].shape == (128, 128)
    assert made["features.length"] == len(frames) == 48
    wanted = (frames + 4.2677393) / (2 * 4.5689974)
    assert float((made["features"][:48] - wanted).abs().max()) < 1e-4
    assert torch.allclose(made["features"][48:], torch.tensor(4.2677393 / (2 * 4.5689974)))
    long = sample(wav=stored(tone(2.0)))
    cut = decode(long, single(0, long.id.digest(), 0))
    assert cut["features"].shape == (128, 128)
    assert cut["features.length"] == 128


def test_a_crop_in_frames_is_that_many(tone, stored, sample):
    one = sample(wav=stored(tone(2.0)))
    for decode in (FbankDecoder(frames=50), MelDecoder(frames=50)):
        made = decode(one, single(0, 1, 2))
        assert made["features"].shape[0] == made["features.length"] == 50
        assert made["augment.features"].shape == (5,)
        assert made["augment.features"][0] > 0


def test_tera_normalises_each_bin_of_the_recording(tone, stored, sample):
    wave = tone(1.0)
    made = MelDecoder()(sample(wav=stored(wave)), None)["features"]
    frames = LogMel()(torch.from_numpy(wave))
    wanted = (frames - frames.mean(0)) / (frames.std(0) + 1e-10)
    assert float((made - wanted).abs().max()) < 1e-4
    padded = MelDecoder(frames=200, pad=True)(sample(wav=stored(wave)), None)
    assert float((padded["features"][:101] - wanted).abs().max()) < 1e-4
    assert not padded["features"][101:].any()


def test_deltas_lie_beside_the_bins(tone, stored, sample):
    made = FbankDecoder(bins=80, deltas=2, cmvn=True)(sample(wav=stored(tone(0.5))), None)["features"]
    assert made.shape == (48, 240)
    assert float(made.mean(0).abs().max()) < 1e-4


def test_specaugment_blanks_a_band_of_bins_and_one_of_frames(tone, stored, sample):
    one = sample(wav=stored(tone(1.0)))
    decode = FbankDecoder(freq_mask=48, time_mask=30, mean=-4.0, std=4.0)
    plain = FbankDecoder(mean=-4.0, std=4.0)(one, None)["features"]
    assert torch.equal(decode(one, None)["features"], plain)  # not in evaluation
    widths = set()
    for visit in range(8):
        made = decode(one, single(0, 5, visit))
        _, low, bins, first, frames = made["augment.features"].tolist()
        blank = torch.zeros_like(plain, dtype=torch.bool)
        blank[:, low : low + bins] = True
        blank[first : first + frames] = True
        assert torch.equal(made["features"][~blank], plain[~blank])
        assert bool((made["features"][blank] == 1.0).all())  # 0 before normalisation
        assert bins <= 48
        assert frames <= 30
        widths.add((bins, frames))
    assert len(widths) > 4


def test_stored_frames_are_those_computed(tone, stored, sample):
    wave = tone(1.0)
    options = {"frames": 64, "mean": -4.0, "std": 4.0}
    computed = FbankDecoder(crop_eval="start", **options)(sample(wav=stored(wave)), None)["features"]
    frames = KaldiFbank()(torch.from_numpy(wave - wave.mean())).numpy()
    for kind, close in ((np.float32, 1e-3), (np.float16, 1e-2)):
        one = sample(fbank_npy=npy(frames.astype(kind)))
        made = StoredFeatures(crop_eval="start", **options)(one, None)
        assert made["features"].dtype == torch.float32
        assert float((made["features"] - computed).abs().max()) < close
    drawn = StoredFeatures(frames=64)(one, single(0, 1, 1))
    start = int(drawn["augment.features"][0])
    assert float((drawn["features"] - torch.from_numpy(frames[start : start + 64])).abs().max()) < 1e-2


@pytest.mark.parametrize(("data", "why"), [
    (b"", "not an array"), (npy(np.zeros((3, 2), np.int64)), "expected frames"), (npy(np.zeros(4)), "expected frames"),
    (npy(np.array([[np.nan, 1.0]])), "NaN"), (npy(np.zeros((0, 4), np.float32)), "expected frames"),
    (npy(np.array([{}], object)), "not an array"),
])
def test_stored_frames_that_cannot_be_used(data, why, sample):
    with pytest.raises(SampleError, match=why):
        StoredFeatures()(sample(fbank_npy=data), None)
    with pytest.raises(SampleError, match="no such part"):
        StoredFeatures(part="mel.npy")(sample(fbank_npy=data), None)


def test_too_short_for_a_frame(tone, stored, sample):
    with pytest.raises(SampleError, match="too short: 0 frames"):
        FbankDecoder()(sample(wav=stored(tone(0.02))), None)
    with pytest.raises(SampleError, match="min_frames is 200"):
        MelDecoder(min_frames=200)(sample(wav=stored(tone(1.0))), None)


def test_statistics_come_from_a_file(tmp_path, tone, stored, sample):
    one = sample(wav=stored(tone(1.0)))
    plain = FbankDecoder(bins=40)(one, None)["features"]
    each = {"mean": plain.mean(0).tolist(), "std": [0.0, *plain.std(0).tolist()[1:]]}
    known = {"mean": float(plain.mean()), "std": float(plain.std()), "each": each}
    path = tmp_path / "stats.json"
    path.write_text(json.dumps({"fields": {"features": known}}))
    made = FbankDecoder(bins=40, stats=str(path))(one, None)["features"]
    assert abs(float(made.mean())) < 1e-5
    binned = FbankDecoder(bins=40, stats=str(path), per_bin=True, spread=2.0)
    assert float((binned(one, None)["features"][:, 1:].std(0) - 0.5).abs().max()) < 1e-4
    assert torch.equal(binned.raw()(one, None)["features"], plain)
    for options, why in [({"stats": str(tmp_path / "no.json")}, "holds no statistics"),
                         ({"stats": str(path), "field": "other"}, "holds no statistics"),
                         ({"stats": str(path), "mean": 1.0, "std": 1.0}, "both"), ({"mean": 1.0}, "belong together"),
                         ({"mean": 0.0, "std": 0.0}, "must be positive")]:
        with pytest.raises(RecipeError, match=why):
            FbankDecoder(bins=40, **options)
    with pytest.raises(RecipeError, match="do not fit 80 bins"):
        FbankDecoder(bins=80, stats=str(path), per_bin=True)(one, None)


@pytest.mark.parametrize("options", [
    {"pad": True}, {"frames": 0}, {"frames": 5, "seconds": 1.0}, {"channels": "stereo"}, {"freq_mask": -1},
    {"min_frames": 0}, {"high": 10_000.0},
])
def test_options_that_cannot_be(options):
    with pytest.raises(RecipeError):
        FbankDecoder(**options)


def test_a_recipe_checks_names_and_types_of_inherited_options():
    assert component("decoder", "audio/fbank", rate=8_000, bins=40, mean=[0.0] * 40, std=1).rate == 8_000
    for options in ({"rat": 8_000}, {"seconds": "long"}, {"crop": "left"}, {"window": "flat"}):
        with pytest.raises(RecipeError):
            component("decoder", "audio/fbank", **options)
