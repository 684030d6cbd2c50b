"""Speed and memory of mae-vit-b against the reference's arithmetic and transformers, in one run.

    python tools/bench/mae.py --batch 16 --rounds 7

Arms: ``mmask``; ``mmask-plain``, the same with its fast paths off; ``twin`` (tools/bench/mae_twin.py: the
reference's arithmetic with timm's blocks); ``hf`` (transformers ViTMAEForPreTraining). All have the same
batch, mask ratio, normalised target, dtype, threads and fused AdamW. They take turns (tools/bench/turns.py).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from turns import Rows, against_first, answer, gflop, low, middle, most, take_turns

ARMS = ("mmask", "mmask-plain", "twin", "hf")


def make(name: str, batch: int, image: Tensor) -> tuple[nn.Module, Callable[[int], Tensor]]:
    """An arm by name, with random weights: the module, and step number -> loss of a forward pass."""
    torch.manual_seed(0)
    if name.startswith("mmask"):
        return _ours(name, batch, image)
    if name == "twin":
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
    answer(loss_of, optimizer)


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
    flags = ["--batch", str(args.batch), "--size", str(args.size), "--threads", str(args.threads)]
    peak = {"wall": 0.0, "cpu": 0.0}

    def measure() -> None:
        peak.update({key: max(peak[key], best) for key, best in gemm().items()})

    rows = take_turns(__file__, args.arms, flags, args.rounds + 2, between=measure)
    one = torch.randn(1, 3, args.size, args.size)
    work = {name: gflop(make(name, 1, one)[1]) * args.batch for name in args.arms}
    report(args, {name: made[2:] for name, made in rows.items()}, peak, work)  # two rounds warm up


def report(args: argparse.Namespace, rows: Rows, peak: dict[str, float], work: dict[str, float]) -> None:
    """Markdown tables."""
    print(f"torch {torch.__version__}, {args.threads} threads, batch {args.batch}, {args.size} px, fp32,")
    print(f"GEMM peak {peak['wall']:.0f} GFLOP/s, {peak['cpu']:.0f} a CPU second; {args.rounds} rounds\n")
    print("| arm | forward + backward | step | CPU s, f + b | GFLOP | of GEMM peak | by CPU s | MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, made in rows.items():
        done, both, cpu = work[name], low(made, "both"), low(made, "cpu_both")
        print(
            f"| {name} | {both:.2f} s (median {middle(made, 'both'):.2f}) | {low(made, 'step'):.2f} s"
            f" ({middle(made, 'step'):.2f}) | {cpu:.2f} | {done:.0f} | {done / both / peak['wall']:.2f}"
            f" | {done / cpu / peak['cpu']:.2f} | {most(made):.0f} |"
        )
    print(f"\n{against_first(rows)}")


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
