"""Train the discrete tokenizer that the image plugin ships, and put it into the plugin.

    python tools/build_vq_tokenizer.py [--steps 300]

Trains `vq-tiny` on the plugin's sample shards (about three minutes on two cores) and keeps the network alone:
convolutions and codes, without the decoder and the optimizer. The file's metadata says how it was made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

TARGET = Path(__file__).parent.parent / "plugins/mmask-image/mmask_image/weights/vq-emoji.safetensors"
START = "networks.tokenizer."


def main() -> None:
    """Train, cut out, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = ["--recipe", "vq-tiny", "--steps", str(given.steps), "--out", str(run)]
        subprocess.run([sys.executable, "-m", "mmask", "train", *options], check=True)
        last = sorted((run / "checkpoints").glob("step-*"))[-1]
        found = load_file(last / "model.safetensors")
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    own = {name.removeprefix(START): value for name, value in found.items() if name.startswith(START)}
    numbers = {name: rows[-1][name] for name in ("pixels", "codes_used", "perplexity") if name in rows[-1]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    made = {"recipe": "vq-tiny", "data": "emoji", "steps": str(given.steps), "last_row": json.dumps(numbers)}
    save_file(own, given.out, metadata=made)
    print(f"{given.out}: {sum(value.numel() for value in own.values()):,} numbers, {numbers}")


if __name__ == "__main__":
    main()
