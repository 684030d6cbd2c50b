"""Connectionist temporal classification: alphabets, errors, and an encoder that learns to read tones."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from mmask.api import DataError, RecipeError, UsageError
from mmask.testing import build, import_run, judged, mmask
from mmask_audio.ctc.alphabet import Alphabet, frames_needed, plain
from mmask_audio.ctc.tune import CtcTune, errors
from mmask_audio.wav2vec2.weights import Wav2Vec2Weights

SIZES = [
    "networks.encoder.width=32", "networks.encoder.depth=1", "networks.encoder.heads=2",
    "networks.encoder.positions=5", "networks.encoder.position_groups=4", "tokenize.audio.channels=24",
    "tokenize.audio.norm=layer", "networks.encoder.pre_norm=true", "data.decode.audio.seconds=0.4",
    "data.decode.audio.min_seconds=0.05", "tokenize.audio.grad_scale=1.0",
    *(f"networks.encoder.{name}dropout=0.0" for name in ("", "input_", "attention_")),
    "networks.encoder.layer_drop=0.0",
]
TONES = {"a": 300.0, "b": 900.0, "c": 1900.0, " ": 0.0}


def recording(text: str) -> bytes:
    """Each letter is 80 ms of its own tone."""
    time = np.arange(1280) / 16_000
    wave = np.concatenate([0.5 * np.sin(2 * np.pi * TONES[one] * time) for one in text])
    file = io.BytesIO()
    soundfile.write(file, wave.astype(np.float32), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def shard(path: Path, texts: list[str]) -> str:
    with tarfile.open(path, "w") as tar:
        for number, text in enumerate(texts):
            for part, data in (("wav", recording(text)), ("txt", text.upper().encode())):
                info = tarfile.TarInfo(f"{number:04d}.{part}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return str(path)


def words(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join("".join(draw.choice(list("abc"), 3)) for _ in range(draw.integers(2, 4))) for _ in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run at step 0 and two shards of spelt tones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ctc")
    weights = Wav2Vec2Weights().write(build("wav2vec2-tiny", 5, overrides=SIZES, profile="demo"))
    file = folder / "w.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
    import_run(file, "wav2vec2", folder / "run", recipe="wav2vec2-tiny", overrides=SIZES, profile="demo")
    yield folder / "run", shard(folder / "fit.tar", words(48, 0)), shard(folder / "val.tar", words(12, 1))
    torch.set_num_threads(before)


def test_text_is_folded_and_ids_come_back():
    assert plain("Press 1,  “don’t” WAIT!") == "press 1 don't wait"
    assert plain("Größe — ÉTÉ") == "größe été".replace("ß", "ss")
    alphabet = Alphabet.of(["abba", "cab b"])
    assert alphabet.characters == (" ", "a", "b", "c") and len(alphabet) == 5
    ids = alphabet.encode("abzc")
    assert ids.tolist() == [2, 3, 4]
    assert alphabet.read(torch.tensor([0, 2, 2, 0, 3, 0, 3, 3, 1, 1, 4, 0])) == "abb c"
    assert frames_needed(alphabet.encode("abba")) == 5
    with pytest.raises(DataError, match="no letters"):
        Alphabet.of(["", ""])


def test_errors_are_edits_over_all_words_and_characters():
    found = errors([("a b c", "a x c"), ("d", ""), ("", "noise")])
    assert found["wer"] == pytest.approx(2 / 4)
    assert found["cer"] == pytest.approx(2 / 6)
    with pytest.raises(DataError, match="no test recording"):
        errors([("", "a")])


def test_an_encoder_learns_to_read(run, tmp_path, capsys):
    folder, fit, val = run
    out = tmp_path / "ctc.json"
    flags = ["--data", fit, "--val", val, "--device", "cpu", "--out", str(out)]
    options = ["epochs=30", "batch=16", "lr=3e-3", "head_lr=1e-2", "head_first=0.02", "freeze=nothing", "dropout=0.0"]
    assert mmask("eval", "ctc", folder, *flags, *options) == 0
    told = json.loads(out.read_text())["results"][0]["seeds"][0]
    assert told["cer"] < 0.15, told
    assert told["about"]["characters"] == 4 and told["about"]["too_short"] == 0
    said = told["about"]["examples"][0]["said"]
    assert set(said) <= set("abc ") and len(said) > 5  # the whole recording, not the recipe's crop of 0.4 s
    assert "wer" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "moves"), [
    ({"freeze": "front"}, {"encoder"}), ({"freeze": "nothing"}, {"encoder", "front_ends"}),
    ({"freeze": "all", "layers": "weighted"}, set()), ({"freeze": "nothing", "head_first": 1.0}, set()),
])
def test_what_is_frozen_stays(options, moves, run, monkeypatch):
    folder, fit, _ = run
    fitted, tested = judged(folder, "samples", (fit,), (fit,), limit=8)
    kept = {}
    tune = CtcTune(epochs=1, batch=4, lr=1e-2, **options)
    made = tune._model
    monkeypatch.setattr(tune, "_model", lambda *a: kept.setdefault("model", made(*a)))
    before = {name: value.clone() for name, value in fitted.subject.encoder().state_dict().items()}
    verdict = tune(fitted, tested, seed=0)
    after = kept["model"].network.state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == moves
    assert ("layers" in verdict.about) == (options.get("layers") == "weighted")


def test_spans_are_hidden_in_training_only(run):
    folder, fit, _ = run
    fitted, tested = judged(folder, "samples", (fit,), (fit,), limit=4)
    hiding, clean = fitted.subject.encoder(view="masked"), fitted.subject.encoder()
    first, second = fitted.subject.train(fitted.rows, batch=4, epochs=2, seed=0)
    with torch.no_grad():
        seen, again, whole = (one(first).state for one in (hiding.train(), hiding.train(), clean.train()))
        assert torch.equal(seen, again) and not torch.allclose(seen, whole, atol=1e-3)
        at = [int(np.flatnonzero(second.ids == one)[0]) for one in first.ids]
        assert not torch.allclose(seen, hiding(second).state[at], atol=1e-3)  # another visit, other spans
        assert torch.equal(hiding.eval()(first).state, clean.eval()(first).state)
    tuned = CtcTune(epochs=1, batch=4, hide="masked")(fitted, tested, seed=0)
    assert tuned.numbers["cer"] > 0
    with pytest.raises(UsageError, match=r"no view 'maskd'.*masked"):
        CtcTune(epochs=1, hide="maskd")(fitted, tested, seed=0)
    with pytest.raises(RecipeError, match="shown everything"):
        CtcTune(freeze="all", hide="masked")


def test_shares_of_the_course_are_checked():
    with pytest.raises(RecipeError, match="ctc needs"):
        CtcTune(warmup=0.7, hold=0.5)
    course = CtcTune(warmup=0.1, hold=0.4).course
    assert course(0.0) < 0.02 and course(0.3) == 1.0 and course(1.0) == pytest.approx(0.05)
