"""Speed and memory of mae-vit-b against the reference's arithmetic and transformers, in one run.

    python tools/bench/mae.py --batch 16 --rounds 7

Arms: ``mmask``; ``mmask-plain``, the same with its fast paths off; ``twin`` (tools/bench/mae_twin.py: the
reference's arithmetic with timm's blocks); ``hf`` (transformers ViTMAEForPreTraining). All have the same
batch, mask ratio, normalised target, dtype, threads and fused AdamW. Each arm lives in a process of its own,
so that its peak memory is its own, and takes one step when it is its turn: arms alternate, so that other work on
the machine meets all of them. CPU seconds are user and system time over all threads; with one thread, other
work hardly moves them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ARMS = ("mmask", "mmask-plain", "twin", "hf")


def make(name: str, batch: int, image: Tensor) -> tuple[nn.Module, Callable[[int], Tensor]]:
    """An arm by name, with random weights: the module, and step number -> loss of a forward pass."""
    torch.manual_seed(0)
    if name.startswith("mmask"):
        return _ours(name, batch, image)
    if name == "twin":
        sys.path.insert(0, str(Path(__file__).parent))
        from mae_twin import PlainMAE

        twin, places = PlainMAE(image_size=image.shape[-1]), (image.shape[-1] // 16) ** 2
        return twin, lambda step: twin(image, torch.rand(batch, places))
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(norm_pix_loss=True, image_size=image.shape[-1], layer_norm_eps=1e-6)
    theirs = ViTMAEForPreTraining(config).train()
    return theirs, lambda step: theirs(pixel_values=image).loss


def _ours(name: str, batch: int, image: Tensor) -> tuple[nn.Module, Callable[[int], Tensor]]:
    import numpy as np

    import mmask
    from mmask.api import Batch

    size = image.shape[-1]
    plain = {"networks.encoder.fast": False, "objectives.pixels.head.fast": False,
             "objectives.pixels.head.lean": False}
    sizes = {"tokenize.image.image_size": size, "data.decode.image.size": size}
    model = mmask.create_model("mae-vit-b", {**sizes, **(plain if name == "mmask-plain" else {})})
    ids, visits = np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64)
    return model, lambda step: model(Batch({"image": image}, ids, visits + step)).total()


def serve(args: argparse.Namespace) -> None:
    """One arm's process: a step for each line read, its numbers as a line of JSON."""
    import transformers  # noqa: F401  # the same libraries in every process

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    module, loss_of = make(args.serve, args.batch, torch.randn(args.batch, 3, args.size, args.size))
    learnt = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    for turn, _ in enumerate(sys.stdin):
        optimizer.zero_grad(set_to_none=True)
        cpu, start = time.process_time(), time.perf_counter()
        loss = loss_of(turn)
        loss.backward()
        middle, cpu_middle = time.perf_counter(), time.process_time()
        optimizer.step()
        end, cpu_end = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        numbers = {"both": middle - start, "step": end - start, "cpu_both": cpu_middle - cpu,
                   "cpu_step": cpu_end - cpu, "peak": peak, "loss": float(loss.detach())}
        print(json.dumps(numbers), flush=True)


def gflop(name: str, size: int) -> float:
    """GFLOP of products and attention in one sample's forward and backward pass, counted as they are run."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    _, loss_of = make(name, 1, torch.randn(1, 3, size, size))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_of(0).backward()
    return counter.get_total_flops() / 1e9


def gemm(seconds: float = 0.5) -> dict[str, float]:
    """GFLOP/s of the fastest large product of either library: by the clock, and by CPU seconds."""
    import torch.nn.functional as F

    onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    found = {"wall": 0.0, "cpu": 0.0}
    x, w = torch.randn(3072, 3072), torch.randn(3072, 3072)
    ways = [lambda: F.linear(x, w)]
    if onednn is not None:
        ways.append(lambda: onednn(x, w, None, "none", [], ""))
    until = time.perf_counter() + seconds
    while True:
        for way in ways:
            cpu, start = time.process_time(), time.perf_counter()
            way()
            work = 2 * 3072**3 / 1e9
            found["wall"] = max(found["wall"], work / (time.perf_counter() - start))
            found["cpu"] = max(found["cpu"], work / (time.process_time() - cpu))
        if time.perf_counter() > until:
            return found


def compare(args: argparse.Namespace) -> None:
    """Start the arms, let them take turns, print the tables."""
    torch.set_num_threads(args.threads)
    options = ["--batch", str(args.batch), "--size", str(args.size), "--threads", str(args.threads)]
    arms = {
        name: subprocess.Popen([sys.executable, __file__, "--serve", name, *options], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in args.arms
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    peak = {"wall": 0.0, "cpu": 0.0}
    try:
        for turn in range(args.rounds + 2):
            best = gemm()
            peak = {key: max(peak[key], best[key]) for key in peak}
            for name in list(arms) if turn % 2 else list(arms)[::-1]:
                row = _turn(arms[name])
                if turn >= 2:  # two rounds warm up
                    rows[name].append(row)
    finally:
        for process in arms.values():
            process.kill()
    report(args, rows, peak, {name: gflop(name, args.size) * args.batch for name in arms})


def _turn(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def report(
    args: argparse.Namespace, rows: dict[str, list[dict[str, Any]]], peak: dict[str, float],
    work: dict[str, float],
) -> None:
    """Markdown tables."""
    print(f"torch {torch.__version__}, {args.threads} threads, batch {args.batch}, {args.size} px, fp32,")
    print(f"GEMM peak {peak['wall']:.0f} GFLOP/s, {peak['cpu']:.0f} a CPU second; {args.rounds} rounds\n")
    print("| arm | forward + backward | step | CPU s, f + b | GFLOP | of GEMM peak | by CPU s | MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, all_of in rows.items():
        low = {key: min(row[key] for row in all_of) for key in ("both", "step", "cpu_both", "cpu_step")}
        middle = {key: statistics.median(row[key] for row in all_of) for key in ("both", "step")}
        done, most = work[name], max(row["peak"] for row in all_of)
        print(
            f"| {name} | {low['both']:.2f} s (median {middle['both']:.2f}) | {low['step']:.2f} s"
            f" ({middle['step']:.2f}) | {low['cpu_both']:.2f} | {done:.0f}"
            f" | {done / low['both'] / peak['wall']:.2f}"
            f" | {done / low['cpu_both'] / peak['cpu']:.2f} | {most:.0f} |"
        )
    first = next(iter(rows))
    print(f"\n| against {first} | " + " | ".join(_KEYS.values()) + " |\n|---|" + "---|" * len(_KEYS))
    for name in list(rows)[1:]:
        cells = []
        for key in _KEYS:
            pairs = list(zip(rows[first], rows[name], strict=True))
            median = statistics.median(theirs[key] / ours[key] for ours, theirs in pairs)
            best = min(theirs[key] for _, theirs in pairs) / min(ours[key] for ours, _ in pairs)
            cells.append(f"{best:.2f} (median {median:.2f})")
        print(f"| {name} / {first} | " + " | ".join(cells) + " |")


_KEYS = {
    "both": "forward + backward", "step": "step",
    "cpu_both": "CPU s, forward + backward", "cpu_step": "CPU s, step",
}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    serve(args) if args.serve else compare(args)


if __name__ == "__main__":
    main()
