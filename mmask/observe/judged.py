"""What a run's encoder was found to be worth: the evaluations below ``eval/`` on the run's page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from mmask.observe.shots import embedded


def judged(run: Path) -> str:
    """HTML of the results of ``mmask eval`` that lie in the run's folder, newest last, with their pictures; "" where
    there are none. Files that are no results are passed over."""
    found = sorted((run / "eval").glob("*.json"), key=lambda path: (path.stat().st_mtime, path.name))
    cards = [card for path in found for card in _cards(path)]
    return f'<h2>Evaluations</h2><section class="charts">{"".join(cards)}</section>' if cards else ""


def _cards(path: Path) -> Iterator[str]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        bodies = [_card(one) for one in results]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for number, body in enumerate(bodies):
        name = path.stem if len(bodies) == 1 else f"{path.stem}-{number}"
        shown = [one for one in sorted(path.parent.glob(f"{name}*.png")) if _belongs(one.stem, name)]
        pictures = "".join(f'<img alt="{escape(one.stem)}" src="{embedded(one)}">' for one in shown)
        yield f'<div class="card">{body}<div class="judged">{pictures}</div></div>'


def _belongs(stem: str, name: str) -> bool:
    """Whether a picture is of the result ``name``: its own, or one of its sides, and not of another evaluation."""
    return stem == name or (stem.startswith(f"{name}-") and "-" not in stem.removeprefix(f"{name}-"))


def _card(result: Mapping[str, Any]) -> str:
    """One result: the task, what it was asked of, and every number over its seeds."""
    about = [f"step {result['step']:,}" if result["init"] == "trained" else "random initialisation"]
    if result["features"] != "encoder":
        about.append(f"features: {result['features']}")
    if result["labels"] != "none":
        about.append(f"labels: {result['labels']}")
    seeds = len(result["seeds"])
    about += [f"{result['data']['test_samples']:,} test samples", f"{seeds} seed{'s' if seeds > 1 else ''}"]
    rows = "".join(
        f'<tr><td class="key">{escape(name)}</td><td class="value">{escape(_number(value))}</td></tr>'
        for name, value in result["summary"].items()
    )
    return (
        f'<h3>{escape(str(result["task"]))}</h3><p class="soft">{escape(", ".join(about))}</p>'
        f'<div class="scroll"><table>{rows}</table></div>'
    )


def _number(value: Mapping[str, Any]) -> str:
    if "shown" in value:
        return str(value["shown"])
    half = value.get("half")
    return f"{value['mean']:.4g}" + (f" ± {half:.4g}" if half is not None else "")
