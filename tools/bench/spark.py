"""Speed and memory of a SparK recipe against its masked-dense twin, in one run.

    python tools/bench/spark.py --recipe spark-resnet50 --batch 8 --rounds 5

Arms: ``mmask``; ``encoder`` (the encoder on visible tiles, the decoder plain); ``twin`` (the reference's way:
whole maps, multiplied clean after every layer, and the decoder's convolutions one by one). All have the same
weights, pictures, plans, dtype, threads and optimizer, and their losses are compared. Each arm lives in a
process of its own, so that its peak memory is its own, and takes one step when it is its turn: arms alternate,
so that other work on the machine meets all of them. CPU seconds are user and system time over all threads,
which other work hardly moves.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from turns import Rows, answer, low, most, take_turns

ARMS = {
    "mmask": {},
    "encoder": {"objectives.pixels.head.merge": "never"},
    "twin": {"objectives.pixels.head.merge": "never", "networks.encoder.form": "dense"},
}


def serve(args: argparse.Namespace) -> None:
    """One arm's process: a step for each line read, its numbers as a line of JSON."""
    import numpy as np

    import mmask
    from mmask.api import Batch

    torch.set_num_threads(args.threads)
    sizes = {"tokenize.image.image_size": args.size, "data.decode.image.size": args.size,
             "networks.encoder.drop_path": 0.0}
    model = mmask.create_model(args.recipe, {**sizes, **ARMS[args.serve]}).train()
    torch.manual_seed(0)
    image = torch.randn(args.batch, 3, args.size, args.size)
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-4, fused=True)
    ids, visits = np.arange(args.batch, dtype=np.uint64), np.zeros(args.batch, np.int64)
    answer(lambda turn: model(Batch({"image": image}, ids, visits + turn)).total(), optimizer)


def compare(args: argparse.Namespace) -> None:
    """Start the arms, let them take turns, print the table."""
    flags = ["--recipe", args.recipe, "--batch", str(args.batch), "--size", str(args.size),
             "--threads", str(args.threads)]
    report(args, take_turns(__file__, args.arms, flags, args.rounds + 1))


def report(args: argparse.Namespace, rows: Rows) -> None:
    """A Markdown table; the first round warms up and gives the losses of equal weights."""
    first = {name: all_of[0]["loss"] for name, all_of in rows.items()}
    print(f"{args.recipe}, torch {torch.__version__}, {args.threads} threads, batch {args.batch}, {args.size} px,"
          f" fp32, {args.rounds} rounds")
    print("losses of the first step: " + ", ".join(f"{name} {loss:.6f}" for name, loss in first.items()) + "\n")
    print("| arm | forward, s/image | forward + backward, s/image | CPU s/image | step, s/image | peak MiB |"
          " MiB/image | speed-up | by CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    base = rows[list(rows)[-1]]
    for name, all_of in rows.items():
        timed = all_of[1:]
        each = {key: low(timed, key) / args.batch for key in ("ahead", "both", "cpu_both", "step")}
        peak, before = most(timed), timed[0]["before"]
        speed = {
            key: statistics.median(b[key] / row[key] for b, row in zip(base[1:], timed, strict=True))
            for key in ("both", "cpu_both")
        }
        print(f"| {name} | {each['ahead']:.3f} | {each['both']:.3f} | {each['cpu_both']:.3f} | {each['step']:.3f} |"
              f" {peak:.0f} | {(peak - before) / args.batch:.0f} | {speed['both']:.2f} | {speed['cpu_both']:.2f} |")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="spark-resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    serve(args) if args.serve else compare(args)


if __name__ == "__main__":
    main()
