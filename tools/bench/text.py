"""Speed and memory of bert-base against transformers' BertForMaskedLM, in one run, on the same texts.

    python tools/bench/text.py --rounds 7

The batch is 16 texts whose lengths are the quantiles of a log-normal distribution of mean 48, at most 128 tokens. Arms:
``mmask``, which packs; ``mmask-plain``, its plain twin over padding; ``hf``, BertForMaskedLM padded to 128, as its data
collator with ``padding="max_length"`` makes it; ``hf-longest``, padded to the longest text of the batch only. All start
from the same weights and get the same corrupted ids and labels at each turn, the same threads, dtype, dropout and fused
AdamW; the losses of the first turn must agree. Each arm lives in a process of its own, so that its peak memory is its
own, and takes one step when it is its turn. CPU seconds are user and system time over all threads; with one
thread, other work hardly moves them. Tokens are real ones: padding counts for nobody.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from turns import Rows, against_first, answer, gflop, low, middle, most, take_turns

ARMS = ("mmask", "mmask-plain", "hf", "hf-longest")
Tensors = dict[str, Tensor]


def lengths(count: int, mean: float, most: int, sigma: float = 0.6) -> list[int]:
    """Quantiles of a log-normal distribution with this mean, cut to [4, most]."""
    middle = np.log(mean) - sigma**2 / 2
    places = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    return [int(min(most, max(4, round(float(np.exp(middle + sigma * place)))))) for place in places]


def options(args: argparse.Namespace, *, fast: bool = True) -> dict[str, Any]:
    """Overrides of the recipe: the sizes asked for, and the dropout of both sides."""
    sizes = {"width": args.width, "depth": args.depth, "heads": args.width // 64 or 1}
    sizes |= {"dropout": args.dropout, "attention_dropout": args.dropout, "places": max(512, args.length)}
    return {**{f"networks.encoder.{key}": value for key, value in sizes.items()},
            "networks.encoder.fast": fast, "objectives.words.head.fast": fast, "mask.cap": None}


def build(args: argparse.Namespace, *, fast: bool = True) -> Any:
    """Our model."""
    import mmask

    return mmask.create_model("bert-base", options(args, fast=fast))


def ours_batch(data: Tensors, turn: int) -> Any:
    """The texts as mmask's loader would hand them over, met for the ``turn``-th time."""
    from mmask.api import Batch

    count = len(data["ids"])
    ids, visits = np.arange(count, dtype=np.uint64), np.full(count, turn, np.int64)
    return Batch({"text": data["ids"], "text.length": data["length"]}, ids, visits)


def prepare(args: argparse.Namespace, folder: Path) -> int:
    """The texts, what both sides see of them at each turn, and the weights, in ``folder``. -> real tokens a step."""
    from safetensors.torch import save_file

    from mmask_text.weights.hf import HfTextWeights

    torch.manual_seed(0)
    model = build(args)
    vocabulary = model.tokenizers["text"].vocabulary
    length = torch.tensor(lengths(args.batch, args.mean, args.length))
    ids = torch.randint(0, vocabulary.size - 10, (args.batch, args.length)) + 5
    ids[:, 0] = vocabulary.cls_id
    ids[torch.arange(args.batch), length - 1] = vocabulary.sep_id
    ids[torch.arange(args.length) >= length[:, None]] = vocabulary.pad_id
    data = {"ids": ids, "length": length}
    for turn in range(args.rounds + 2):
        batch = ours_batch(data, turn)
        scene = model.scene(batch, model.draw(batch))
        data[f"seen.{turn}"] = scene.view("masked").only().ids.clone()
        data[f"labels.{turn}"] = ids.masked_fill(~scene.plan("mask").hidden, -100)
    save_file(data, folder / "data.safetensors")
    weights = HfTextWeights().write(model)
    save_file({name: value.clone() for name, value in weights.items()}, folder / "weights.safetensors")
    return int(length.sum())


def make(name: str, args: argparse.Namespace) -> tuple[nn.Module, Callable[[int], Tensor]]:
    """An arm by name: the module, and turn -> loss of a forward pass."""
    from safetensors.torch import load_file

    data = load_file(Path(args.folder) / "data.safetensors")
    weights = load_file(Path(args.folder) / "weights.safetensors")
    if name.startswith("mmask"):
        from mmask_text.weights.hf import HfTextWeights

        model = build(args, fast=name == "mmask").train()
        assert not list(HfTextWeights().load(model, weights))
        return model, lambda turn: model(ours_batch(data, turn)).total()
    return _theirs(name, args, data, weights)


def _theirs(name: str, args: argparse.Namespace, data: Tensors, weights: Tensors) -> tuple[nn.Module, Any]:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=len(weights["bert.embeddings.word_embeddings.weight"]), hidden_size=args.width,
        num_hidden_layers=args.depth, num_attention_heads=args.width // 64 or 1, intermediate_size=4 * args.width,
        hidden_dropout_prob=args.dropout, attention_probs_dropout_prob=args.dropout,
        max_position_embeddings=max(512, args.length),
    )
    theirs = BertForMaskedLM(config).train()
    missing = theirs.load_state_dict(weights, strict=False)
    assert not missing.missing_keys, missing
    wide = args.length if name == "hf" else int(data["length"].max())
    keys = (torch.arange(wide) < data["length"][:, None]).long()

    def loss(turn: int) -> Tensor:
        seen, labels = (data[f"{what}.{turn}"][:, :wide].contiguous() for what in ("seen", "labels"))
        return theirs(input_ids=seen, attention_mask=keys, labels=labels).loss

    return theirs, loss


def serve(args: argparse.Namespace) -> None:
    """One arm's process: a step for each line read, its numbers as a line of JSON."""
    import transformers  # noqa: F401  # the same libraries in every process

    torch.set_num_threads(args.threads)
    module, loss_of = make(args.serve, args)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, betas=(0.9, 0.999), weight_decay=0.01, fused=True)
    answer(loss_of, optimizer)


def compare(args: argparse.Namespace) -> None:
    """Start the arms, let them take turns, check the losses, print the tables."""
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="mmask-bench-") as folder:
        args.folder = folder
        tokens = prepare(args, Path(folder))
        names = ("batch", "length", "mean", "width", "depth", "dropout", "threads", "folder", "rounds")
        flags = [word for name in names for word in (f"--{name}", str(getattr(args, name)))]
        rows = take_turns(__file__, args.arms, flags, args.rounds + 2)
        check(args, rows)
        work = {name: gflop(make(name, args)[1]) for name in args.arms}
    report(args, {name: made[2:] for name, made in rows.items()}, tokens, work)  # two rounds warm up


def check(args: argparse.Namespace, rows: Rows) -> None:
    """Without dropout, the same weights and inputs give the same loss: at the first turn, and close to it later."""
    if args.dropout:
        print("losses are not compared: dropout differs from arm to arm\n")
        return
    for turn, allowed in ((0, 1e-5), (len(rows[args.arms[0]]) - 1, 1e-3)):
        losses = {name: made[turn]["loss"] for name, made in rows.items()}
        middle = statistics.median(losses.values())
        print(f"loss of turn {turn + 1}: " + ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()))
        assert all(abs(loss - middle) <= allowed * middle for loss in losses.values()), losses
    print()


def report(args: argparse.Namespace, rows: Rows, tokens: int, work: dict[str, float]) -> None:
    """Markdown tables."""
    print(f"torch {torch.__version__}, {args.threads} threads, fp32, {args.depth} layers of {args.width}, {args.batch}")
    print(f"texts of {tokens} tokens in all, at most {args.length}; dropout {args.dropout}; {args.rounds} rounds\n")
    print("| arm | forward + backward | step | tokens/s, f + b | tokens/s, step | CPU s, f + b | GFLOP | MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, made in rows.items():
        both, step = low(made, "both"), low(made, "step")
        print(
            f"| {name} | {both:.3f} s (median {middle(made, 'both'):.3f}) | {step:.3f} s ({middle(made, 'step'):.3f})"
            f" | {tokens / both:.0f} | {tokens / step:.0f} | {low(made, 'cpu_both'):.3f} | {work[name]:.0f}"
            f" | {most(made):.0f} |"
        )
    print(f"\n{against_first(rows, {'GFLOP': work})}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--mean", type=float, default=48.0)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    serve(args) if args.serve else compare(args)


if __name__ == "__main__":
    main()
