"""The audio decoder: crops, pads, refusals, and what a batch of it looks like."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmask.api import RecipeError, SampleError, single
from mmask.testing import batches, read_ledger
from mmask.testing.shards import write_shards
from mmask_audio.decode import AudioDecoder
from mmask_audio.transcript import TranscriptDecoder


def test_a_crop_is_drawn_from_the_key_and_lies_in_the_middle_in_evaluation(tone, stored, sample):
    wave = tone(2.0)
    one = sample(wav=stored(wave))
    decode = AudioDecoder(seconds=0.5)
    starts = []
    for visit in range(20):
        made = decode(one, single(0, one.id.digest(), visit))
        start = int(made["augment.audio"][0])
        np.testing.assert_array_equal(made["audio"].numpy(), wave[start : start + 8_000])
        again = decode(one, single(0, one.id.digest(), visit))
        assert int(again["augment.audio"][0]) == start
        starts.append(start)
    assert min(starts) < 8_000 < max(starts)
    whole = {"centre": wave[12_000:20_000], "start": wave[:8_000], "none": wave}
    for how, wanted in whole.items():
        made = AudioDecoder(seconds=0.5, crop_eval=how)(one, None)
        np.testing.assert_array_equal(made["audio"].numpy(), wanted)
        assert made["audio.length"] == len(wanted)


def test_pads(tone, stored, sample):
    wave = tone(0.3)
    one = sample(wav=stored(wave))
    zeros = AudioDecoder(seconds=1.0, pad="zeros")(one, None)
    assert zeros["audio"].shape == (16_000,)
    assert zeros["audio.length"] == 4_800
    assert not zeros["audio"][4_800:].any()
    again = AudioDecoder(seconds=1.0, pad="repeat")(one, None)
    np.testing.assert_array_equal(again["audio"][4_800:9_600].numpy(), wave)
    assert again["audio.length"] == 16_000


def test_normalised_before_it_is_padded(tone, stored, sample):
    made = AudioDecoder(seconds=1.0, pad="zeros", normalize=True)(sample(wav=stored(tone(0.5) + 0.3)), None)
    real = made["audio"][:8_000].double()
    assert abs(float(real.mean())) < 1e-6
    assert abs(float(real.var(correction=0)) - 1) < 1e-4
    assert not made["audio"][8_000:].any()


def test_what_is_refused_says_why(tone, stored, sample):
    bad = tone(0.5)
    bad[77] = np.nan
    loud = tone(0.5)
    loud[5] = np.inf
    for data, options, why in [
        (stored(bad), {}, "NaN"), (stored(loud), {}, "infinite"), (stored(tone(0.5)[:0]), {}, "empty"),
        (stored(tone(0.5)), {"min_seconds": 1.0}, "too short: 0.500 s"),
        (stored(tone(0.5)), {"max_seconds": 0.2}, "too long"), (b"RIFF no", {}, "not audio"),
    ]:
        with pytest.raises(SampleError, match=why) as caught:
            AudioDecoder(**options)(sample(wav=data), None)
        assert "s:t.tar:a.wav" in str(caught.value)
    with pytest.raises(SampleError, match="no recording; its parts are txt"):
        AudioDecoder()(sample(txt=b"x"), None)


@pytest.mark.parametrize("options", [
    {"pad": "zeros"}, {"seconds": 0.0}, {"rate": 0}, {"extensions": []}, {"min_seconds": 2.0, "max_seconds": 1.0},
])
def test_options_that_cannot_be(options):
    with pytest.raises(RecipeError):
        AudioDecoder(**options)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_padded_with_lengths_and_bad_samples_go_to_the_ledger(tmp_path, tone, stored, workers):
    bad = tone(0.1)
    bad[3] = np.nan
    data = {2: b"", 5: b"garbage" * 30, 7: stored(bad), 9: stored(tone(1.0), "flac")[:900], 11: stored(tone(0.01))}

    def parts(shard, row):
        sound = data[row] if row in data else stored(tone(0.1 + 0.01 * row))
        return {"flac" if row == 9 else "wav": sound, "txt": f"n {row}"}

    url = write_shards(tmp_path, [16], parts)
    decode = {"audio": AudioDecoder(min_seconds=0.05), "transcript": TranscriptDecoder()}
    ledger = tmp_path / "ledger.jsonl"
    made = list(batches(
        url, decode, batch_size=8, samples=16, workers=workers, streams=4, shuffle=16, fault_budget=1.0, ledger=ledger
    ))
    assert len(made) == 2
    for batch in made:
        lengths = batch["audio.length"]
        assert batch["audio"].shape == (8, int(lengths.max()))
        for row, length in enumerate(lengths.tolist()):
            number = int(batch["transcript"][row].split()[1])
            assert length == round(16_000 * (0.1 + 0.01 * number))
            assert not batch["audio"][row, length:].any()
    reasons = {fault.key: fault.reason for fault in read_ledger(ledger)}
    assert {int(key): why for key, why in reasons.items()}.keys() == data.keys()
    assert "empty" in reasons["00002"]
    assert "NaN" in reasons["00007"]
    assert "too short" in reasons["00011"]


def test_stereo_of_one_length_keeps_its_lengths(tmp_path, tone, stored):
    pair = np.stack([tone(0.1), tone(0.1, seed=1)], axis=1)
    url = write_shards(tmp_path, [4], lambda shard, row: {"wav": stored(pair[: 1_600 - 100 * (row % 2)])})
    decode = {"audio": AudioDecoder(channels="stereo")}
    (batch,) = batches(url, decode, batch_size=4, samples=4, streams=2, shuffle=4)
    assert batch["audio"].shape == (4, 2, 1_600)
    assert sorted(batch["audio.length"].tolist()) == [1_500, 1_500, 1_600, 1_600]


def test_transcripts(sample):
    assert TranscriptDecoder()(sample(txt=b" good\n morning "), None) == {"transcript": "good morning"}
    inside = sample(json=json.dumps({"text": "hey"}).encode())
    assert TranscriptDecoder(part="json.text")(inside, None) == {"transcript": "hey"}
    assert TranscriptDecoder(required=False)(inside, None) == {"transcript": ""}
    for one, part in ((inside, "txt"), (inside, "json.words"), (sample(txt=b"\xff\xfe\xff"), "txt"),
                      (sample(json=b"{"), "json.text")):
        with pytest.raises(SampleError):
            TranscriptDecoder(part=part)(one, None)
