"""Features against torchaudio's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.api import RecipeError, open_source
from mmask_audio.dataset import speech
from mmask_audio.decode import Reading
from mmask_audio.fbank import WINDOWS, KaldiFbank, LogMel, deltas


def kaldi(torchaudio, wave, **options):
    """torchaudio's fbank as SSAST calls it."""
    given = {"window_type": "hanning", "num_mel_bins": 128, **options}
    return torchaudio.compliance.kaldi.fbank(
        wave[None], htk_compat=True, sample_frequency=16_000, use_energy=False, dither=0.0, frame_shift=10, **given
    )


@pytest.fixture(scope="module")
def spoken():
    """Prompts of the sample set."""
    read = Reading(min_seconds=0.1)
    source = open_source(speech()["val"][0], "speech")
    return [torch.from_numpy(read.read(source.read(row), None).wave[0].copy()) for row in range(0, len(source), 7)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("dc", "preemphasis"), [(True, 0.97), (False, 0.97), (True, 0.0)])
def test_kaldi_in_float64_is_torchaudios(window, dc, preemphasis, torchaudio, tone):
    wave = torch.from_numpy(tone(1.0)).double() + 0.05
    wanted = kaldi(
        torchaudio, wave, window_type=window, num_mel_bins=80, remove_dc_offset=dc, preemphasis_coefficient=preemphasis
    )
    made = KaldiFbank(bins=80, window=window, remove_dc=dc, preemphasis=preemphasis, dtype=torch.float64)(wave)
    assert made.shape == wanted.shape
    assert float((made - wanted).abs().max()) < 1e-8


@pytest.mark.parametrize("window", WINDOWS)
def test_kaldi_in_float32_is_torchaudios_down_to_silence(window, torchaudio, spoken):
    """Real speech, with pauses whose bands hold little but roundings."""
    for wave in spoken:
        made, theirs = KaldiFbank(window=window)(wave), kaldi(torchaudio, wave, window_type=window)
        assert made.dtype == torch.float32 and made.shape == theirs.shape
        assert float((made - theirs).abs().max()) < 1e-4


def test_the_mel_spectrum_in_float32_is_torchaudios(torchaudio, spoken):
    transform = torchaudio.transforms.MelSpectrogram(16_000, n_fft=400, hop_length=160, n_mels=80)
    for wave in spoken:
        wanted = (transform(wave).T + 1e-10).log()
        assert float((LogMel(level=None)(wave) - wanted).abs().max()) < 1e-4


@pytest.mark.parametrize("options", [
    {"bins": 23, "low": 100.0, "high": 7_000.0}, {"bins": 40, "high": -400.0}, {"frame_ms": 20.0, "shift_ms": 5.0},
])
def test_other_bands_and_frames(options, torchaudio, tone):
    wave = torch.from_numpy(tone(0.5)).double()
    wanted = torchaudio.compliance.kaldi.fbank(
        wave[None], sample_frequency=16_000, window_type="hanning", num_mel_bins=options.get("bins", 128),
        low_freq=options.get("low", 20.0), high_freq=options.get("high", 0.0),
        frame_length=options.get("frame_ms", 25.0), frame_shift=options.get("shift_ms", 10.0),
    )
    made = KaldiFbank(**options, dtype=torch.float64)(wave)
    assert made.shape == wanted.shape
    assert float((made - wanted).abs().max()) < 1e-8


@pytest.mark.parametrize("samples", [16_000, 15_999, 16_160, 201])
def test_the_mel_spectrum_is_torchaudios(samples, torchaudio, tone):
    wave = torch.from_numpy(tone(1.2)[:samples]).double()
    transform = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=400, hop_length=160, n_mels=80, wkwargs={"dtype": torch.float64}
    ).double()
    wanted = (transform(wave).T + 1e-10).log()
    made = LogMel(level=None, dtype=torch.float64)(wave)
    assert made.shape == wanted.shape == (LogMel().frames(samples), 80)
    assert float((made - wanted).abs().max()) < 1e-8


def test_the_level_is_an_rms(tone):
    wave = torch.from_numpy(tone(1.0))
    scaled = wave * (10 ** (-25 / 20) / wave.square().mean().sqrt())
    wanted = LogMel(level=None)(scaled)
    assert float((LogMel()(wave * 0.01) - wanted).abs().max()) < 1e-3
    assert torch.isfinite(LogMel()(torch.zeros(4_000))).all()  # silence


@pytest.mark.parametrize("make", [KaldiFbank(), LogMel()])
def test_counts_and_blocks(make, tone):
    wave = torch.from_numpy(tone(3.0))  # more frames than a block
    frames = make(wave)
    assert len(frames) == make.frames(len(wave))
    assert len(make(wave[: make.samples(37)])) == 37
    assert make(wave[:100]).shape == (0, make.bins)
    assert make.frames(100) == 0
    if isinstance(make, KaldiFbank):  # frames know nothing of each other
        assert float((make(wave[160 * 270 :]) - frames[270:]).abs().max()) < 1e-4


def test_deltas_are_torchaudios(torchaudio):
    frames = torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    wanted = torchaudio.functional.compute_deltas(frames.T[None])[0].T
    assert float((deltas(frames) - wanted).abs().max()) < 1e-6


@pytest.mark.parametrize("options", [
    {"high": 9_000.0}, {"low": -1.0}, {"window": "flat"}, {"frame_ms": 0.0}, {"bins": 0},
])
def test_bands_and_windows_that_cannot_be(options):
    with pytest.raises(RecipeError):
        KaldiFbank(**options)


def test_the_signal_is_not_written_to(tone):
    wave = tone(0.2)
    before = wave.copy()
    KaldiFbank()(torch.from_numpy(wave))
    LogMel()(torch.from_numpy(wave))
    np.testing.assert_array_equal(wave, before)
