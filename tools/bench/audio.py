"""Features per second on one core, against torchaudio's own pipeline.

    python tools/bench/audio.py --rounds 7 --out bench.json
    python tools/bench/audio.py --rounds 3 --clock process        # on a machine that is busy

Real speech (the audio plugin's sample prompts, joined to clips of 10 s, and as they are) is stored as FLAC at 16 kHz.
Both sides do the same work on one thread and alternate within every round, the first one changing; the ratio of
each round is reported. Three comparisons for each length:

    decode+fbank   FLAC in memory -> SSAST's input: mean removed, Kaldi fbank of 128 bins, cut or filled up, normalised
    fbank          the waveform -> fbank alone
    mel            the waveform -> log-mel spectrum of 80 bins, torchaudio's transform made once

torchaudio reads no files any more without another package, so soundfile decodes on both sides. ``error`` is the
largest difference, of both float32 results from the same in float64 and from each other, in units of the logarithm
and as a share of the largest value; and how many of all cells are farther apart than 1e-4.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from mmask.data.source import open_source
from mmask.types import Sample, SampleId
from mmask_audio.dataset import speech
from mmask_audio.decode import Reading
from mmask_audio.fbank import KaldiFbank, LogMel
from mmask_audio.features import FbankDecoder
from mmask_audio.pack import encoded

RATE, FRAMES, MEAN, STD = 16_000, 1_024, -4.2677393, 4.5689974
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
Run = Callable[[], object]


def load_torchaudio() -> Any:
    """torchaudio; its releases refuse to be imported beside a torch of another CUDA, which does not matter here."""
    cuda, torch.version.cuda = torch.version.cuda, None
    try:
        importlib.import_module("torchaudio.compliance.kaldi")
        return importlib.import_module("torchaudio")
    finally:
        torch.version.cuda = cuda


def clips(seconds: float, count: int) -> list[np.ndarray]:
    """Waveforms of about so many seconds; 0 leaves the prompts as they are."""
    read = Reading(min_seconds=0.1)
    waves = [read.read(sample, None).wave[0] for url in speech()["train"] for sample in open_source(url, "speech")]
    if not seconds:
        return waves[:count]
    whole = np.concatenate(waves)
    size = round(seconds * RATE)
    return [whole[at : at + size] for at in range(0, len(whole) - size, size)][:count]


def theirs_of(torchaudio: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """torchaudio's fbank and log-mel spectrum of a waveform (S,), as SSAST and s3prl call them."""
    transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=400, hop_length=160, n_mels=80)

    def fbank(wave: Tensor) -> Tensor:
        return torchaudio.compliance.kaldi.fbank(
            wave[None], htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
            num_mel_bins=128, dither=0.0, frame_shift=10,
        )

    def mel(wave: Tensor) -> Tensor:
        return (transform(wave).T + 1e-10).log()

    return fbank, mel


def pairs(waves: Sequence[np.ndarray], torchaudio: Any) -> dict[str, tuple[Run, Run]]:
    """Comparison -> (ours, theirs), each doing all clips once."""
    fbank, mel = theirs_of(torchaudio)
    files = [encoded(wave[None], RATE) for wave in waves]
    samples = [Sample(SampleId("b", "b.tar", str(i)), {"flac": file}) for i, file in enumerate(files)]
    decode = FbankDecoder(frames=FRAMES, pad=True, mean=MEAN, std=STD, spread=2.0, crop_eval="start")
    mine, melody = KaldiFbank(), LogMel(level=None)
    tensors = [torch.from_numpy(wave.copy()) for wave in waves]

    def pipeline(file: bytes) -> Tensor:
        wave = torch.from_numpy(soundfile.read(io.BytesIO(file), dtype="float32")[0])
        frames = fbank(wave - wave.mean())
        spare = FRAMES - frames.shape[0]
        frames = torch.nn.functional.pad(frames, (0, 0, 0, spare)) if spare > 0 else frames[:FRAMES]
        return (frames - MEAN) / (STD * 2)

    return {
        "decode+fbank": (lambda: [decode(one, None) for one in samples], lambda: [pipeline(one) for one in files]),
        "fbank": (lambda: [mine(one) for one in tensors], lambda: [fbank(one) for one in tensors]),
        "mel": (lambda: [melody(one) for one in tensors], lambda: [mel(one) for one in tensors]),
    }


def compare(ours: Run, theirs: Run, rounds: int, clock: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Seconds of each round, ours and theirs, after one round to warm up."""
    spent: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        sides = [(0, ours), (1, theirs)]
        for side, run in sides if number % 2 else sides[::-1]:
            start = clock()
            run()
            if number:
                spent[side].append(clock() - start)
    return spent


def errors(waves: Sequence[np.ndarray], torchaudio: Any) -> dict[str, dict[str, float]]:
    """Largest differences in units of the logarithm, and as a share of the largest value."""
    found = {}
    makers = zip(("fbank", "mel"), (KaldiFbank(), LogMel(level=None)), theirs_of(torchaudio), strict=True)
    for name, mine, theirs in makers:
        worst: dict[str, float] = {}
        outside: dict[str, int] = {}
        cells = 0
        for wave in waves:
            one = torch.from_numpy(wave.copy())
            a, b = mine(one), theirs(one)
            if name == "fbank":
                exact = theirs(one.double())
            else:
                exact = LogMel(level=None, dtype=torch.float64)(one)
            scale = float(exact.abs().max())
            for pair, left, right in (("ours-exact", a, exact), ("theirs-exact", b, exact), ("ours-theirs", a, b)):
                far = float((left - right).abs().max())
                worst[pair] = max(worst.get(pair, 0.0), far)
                worst[f"{pair} share"] = max(worst.get(f"{pair} share", 0.0), far / scale)
                outside[pair] = outside.get(pair, 0) + int(((left - right).abs() > 1e-4).sum())
            cells += exact.numel()
        worst |= {f"{pair} cells above 1e-4": count / cells for pair, count in outside.items()}
        found[name] = worst
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=64, help="clips of each length")
    parser.add_argument("--seconds", type=float, nargs="*", default=[10.0, 0.0], help="0: prompts as they are")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torchaudio = load_torchaudio()
    report: dict[str, Any] = {
        "machine": platform.machine(), "torch": torch.__version__, "torchaudio": torchaudio.__version__,
        "rounds": options.rounds, "clock": options.clock, "lengths": {},
    }
    for seconds in options.seconds:
        waves = clips(seconds, options.count)
        total = sum(KaldiFbank().frames(len(wave)) for wave in waves)
        rows: dict[str, Any] = {"clips": len(waves), "frames": total, "errors": errors(waves, torchaudio)}
        for name, (ours, theirs) in pairs(waves, torchaudio).items():
            mine, other = compare(ours, theirs, options.rounds, CLOCKS[options.clock])
            ratios = [b / a for a, b in zip(mine, other, strict=True)]
            rows[name] = {
                "clips_per_second": len(waves) / statistics.median(mine),
                "theirs": len(waves) / statistics.median(other), "frames_per_second": total / statistics.median(mine),
                "ratio": statistics.median(ratios), "range": [min(ratios), max(ratios)],
            }
            print(
                f"{seconds or 'as is':>6}  {name:13s} {rows[name]['clips_per_second']:9.1f} clips/s, torchaudio "
                f"{rows[name]['theirs']:9.1f}, ratio {rows[name]['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            )
        for name, worst in rows["errors"].items():
            print(f"        {name}: " + ", ".join(f"{pair} {value:.1e}" for pair, value in worst.items()))
        report["lengths"][str(seconds)] = rows
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
