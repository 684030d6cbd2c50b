"""report.html: a run on one page that needs nothing but itself. It opens from disk, mail or a server."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmask.errors import UsageError
from mmask.observe.charts import Series, chart, short, smooth
from mmask.observe.judged import judged
from mmask.observe.metrics import read_rows
from mmask.observe.shots import shots

Row = Mapping[str, Any]
_COLOURS = ("c1", "c2", "c4", "c5", "c6", "c3")


def write_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds. Raises UsageError when that is no run."""
    if not (run / "recipe.toml").is_file():
        raise UsageError(f"{run} is no run: it has no recipe.toml", hint="give a folder that train wrote")
    path = run / "report.html"
    aside = path.with_name(".report.html.tmp")
    aside.write_text(page(run), encoding="utf-8")
    aside.replace(path)
    return path


def page(run: Path) -> str:
    """The page as text."""
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    rows, env = read_rows(run / "metrics.jsonl"), _json(run / "env.json")
    steps = _steps(run, recipe, rows)
    title = escape(f"{recipe.get('name', run.name)} · {run.name}")
    style, script = _part("report.css"), _part("report.js")
    body = "\n".join([
        _head(run, recipe, rows, steps), _tiles(run, rows, steps), _charts(rows, recipe), shots(run), judged(run),
        _recipe(recipe), _environment(env),
    ])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{style}</style></head>\n<body>\n{body}\n<script>\n{script}</script>\n</body></html>\n"
    )


def _part(name: str) -> str:
    return files("mmask.observe").joinpath(name).read_text("utf-8")


def _steps(run: Path, recipe: Row, rows: Sequence[Row]) -> int:
    """Steps of the whole schedule, as the newest checkpoint says; the recipe's own number otherwise."""
    for folder in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        told = _json(folder / "state.json").get("schedule", {}).get("steps")
        if told:
            return int(told)
    return int(recipe.get("schedule", {}).get("steps") or 0)


def _head(run: Path, recipe: Row, rows: Sequence[Row], steps: int) -> str:
    done = int(rows[-1]["step"]) if rows else 0
    badge = '<span class="badge done">done</span>' if steps and done >= steps else (
        f'<span class="badge">{done:,} of {steps:,} steps</span>' if steps else ""
    )
    lines = [f"<h1>{escape(str(recipe.get('name', '')))}{badge}</h1>"]
    if recipe.get("summary"):
        lines.append(f"<p>{escape(str(recipe['summary']))}</p>")
    if recipe.get("paper"):
        lines.append(f'<p class="soft">{escape(str(recipe["paper"]))}</p>')
    lines.append(f'<p class="soft"><code>{escape(str(run))}</code></p>')
    return f"<header>{''.join(lines)}</header>"


def _tiles(run: Path, rows: Sequence[Row], steps: int) -> str:
    if not rows:
        return '<p class="empty">No step was logged yet.</p>'
    last = rows[-1]
    val = next((row for row in reversed(rows) if row.get("val_loss") is not None), None)
    tiles = [(f"{int(last['step']):,}", f"of {steps:,} steps" if steps else "steps")]
    tiles.append((f"{last.get('epoch') or 0:.2f}", "epochs"))
    if val is not None:
        tiles.append((f"{val['val_loss']:.4f}", "held-out loss"))
        gain = val.get("val_gain")
        if gain is not None:
            tiles.append((f"{abs(gain):.1%}", f"{'below' if gain >= 0 else 'above'} the trivial predictor"))
    elif last.get("loss") is not None:
        tiles.append((f"{last['loss']:.4f}", "training loss"))
    pace = [row["samples_per_s"] for row in rows[1:] if row.get("samples_per_s")]
    if pace:
        tiles.append((short(round(sorted(pace)[len(pace) // 2], 1)), "samples a second"))
    waits = [row["data_wait"] for row in rows[1:] if row.get("data_wait") is not None]
    if waits:
        tiles.append((f"{sum(waits) / len(waits):.1%}", "waiting for data"))
    faults = _lines(run / "ledger.jsonl")
    if faults or last.get("skipped"):
        tiles.append((f"{faults} / {last.get('skipped', 0)}", "bad samples / skipped steps"))
    made = "".join(f'<div class="tile"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in tiles)
    return f'<section class="tiles">{made}</section>'


def _charts(rows: Sequence[Row], recipe: Row) -> str:
    cards = [_card("Loss", chart(_losses(rows), label="loss by step", wide=True), wide=True)]
    for title, name, style, percent in (
        ("Learning rate", "lr", "c1", False), ("Gradient norm", "grad_norm", "c1", False),
        ("Samples a second", "samples_per_s", "c4", False), ("Tokens a second", "tokens_per_s", "c4", False),
        ("Time spent waiting for data", "data_wait", "c2", True),
    ):
        if name == "tokens_per_s" and not _of(rows, name):
            continue
        points = _of(rows, name)[1 if percent or style == "c4" else 0 :]  # the first row holds the start-up
        line = Series(title.lower(), points, style)
        cards.append(_card(title, chart([line], label=title, percent=percent, zero=True)))
    cards += _probes(rows)
    said = _metrics(rows, recipe)
    cards += [card for name, names in said.items() for card in _metric(name, names, rows)]
    terms = [name for name in _terms(rows) if name not in {one for names in said.values() for one in names}]
    if len(terms) > 1:
        cards.append(_card("Loss terms", chart(_both(terms, "", rows), label="loss terms", wide=True), wide=True))
    return f'<h2>Curves</h2><section class="charts">{"".join(cards)}</section>'


def _probes(rows: Sequence[Row]) -> list[str]:
    """Accuracies on one chart, the effective rank on another."""
    odd = ("probe_rank", "probe_std", "probe_collapse")
    names = [n for n in dict.fromkeys(name for row in rows for name in row) if n.startswith("probe_") and n not in odd]
    lines = [Series(n.removeprefix("probe_"), _of(rows, n), _colour(i)) for i, n in enumerate(names)]
    rank = _of(rows, "probe_rank")
    made = []
    if lines:
        made.append(_card("Accuracy of probes", chart(lines, label="accuracy of probes", percent=True, zero=True)))
    if rank:
        alarms = sum(1 for row in rows if row.get("probe_collapse"))
        title = "Effective rank of features" + (f" · collapse alarm at {alarms} points" if alarms else "")
        made.append(_card(title, chart([Series("effective rank", rank, "c4")], label="effective rank", zero=True)))
    return made


def _metrics(rows: Sequence[Row], recipe: Row) -> dict[str, list[str]]:
    """Objective -> the columns of what it tells beside its loss (``words_accuracy`` of ``words``)."""
    names = _terms(rows)
    told = {one: [n for n in names if n.startswith(f"{one}_")] for one in recipe.get("objectives", {})}
    return {one: found for one, found in told.items() if found}


def _metric(objective: str, names: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """Shares on one chart and other numbers on another, or nothing would be seen of the smaller."""
    shares = [name for name in names if all(0 <= y <= 1 for own in (name, f"val_{name}") for _, y in _of(rows, own))]
    others = [name for name in names if name not in shares]
    for chosen, share in ((shares, True), (others, False)):
        if chosen:
            lines = _both(chosen, f"{objective}_", rows)
            body = chart(lines, label=f"metrics of {objective}", percent=share, zero=share)
            yield _card(f"Metrics of {objective}", body)


def _both(names: Sequence[str], before: str, rows: Sequence[Row]) -> list[Series]:
    """Of each column its line while training and its dots on held-out samples, in one colour."""
    lines = []
    for i, name in enumerate(names):
        bare = name.removeprefix(before)
        lines.append(Series(bare, smooth(_of(rows, name)), _colour(i)))
        lines.append(Series(f"{bare}, held out", _of(rows, f"val_{name}"), f"{_colour(i)} dots"))
    return lines


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _losses(rows: Sequence[Row]) -> list[Series]:
    loss, base = _of(rows, "loss"), _of(rows, "val_trivial")
    lines = [Series("training", smooth(loss) if len(loss) > 40 else loss, "c1")]
    if len(loss) > 40:
        lines.insert(0, Series("each logged step", loss, "c1 faint"))
    lines.append(Series("held out", _of(rows, "val_loss"), "c2 dots"))
    lines.append(Series("held out, averaged weights", _of(rows, "val_loss_ema"), "c4 dots"))
    if base and loss:
        ends = [(loss[0][0], base[-1][1]), (loss[-1][0], base[-1][1])]
        lines.append(Series("trivial predictor", ends, "c3 dash"))
    return lines


def _of(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None]


_KNOWN = {
    "step", "epoch", "loss", "lr", "grad_norm", "samples_per_s", "data_wait", "samples", "skipped", "stamp",
    "mask_ratio", "tokens", "tokens_per_s",
}


def _terms(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [n for n in names if n not in _KNOWN and not n.startswith(("val_", "probe_", "mask_ratio."))]


def _card(title: str, body: str, *, wide: bool = False) -> str:
    return f'<div class="card{" wide" if wide else ""}"><h3>{escape(title)}</h3>{body}</div>'


def _recipe(recipe: Row) -> str:
    origins: Row = recipe.get("origin", {})
    unset = [(key, "none") for key in recipe.get("unset", [])]
    leaves = [*_leaves({k: v for k, v in recipe.items() if k not in ("origin", "mmask", "unset")}), *unset]
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for key, value in leaves:
        section = key.split(".")[0] if "." in key else "recipe"
        groups.setdefault(section, []).append((key, value, str(origins.get(key, "default"))))
    changed = [leaf for leaf in (x for group in groups.values() for x in group) if _is_set(leaf[2])]
    parts = []
    if changed:
        parts.append(f"<h3>Set for this run</h3>{_table(changed)}")
    for section, group in groups.items():
        count = f"<span>{len(group)} values</span>"
        parts.append(f"<details><summary>{escape(section)} {count}</summary>{_table(group)}</details>")
    return f'<h2>Recipe</h2><div class="card">{"".join(parts)}</div>'


def _is_set(origin: str) -> bool:
    return origin != "default" and not origin.startswith("recipe ")


def _table(leaves: Sequence[tuple[str, str, str]]) -> str:
    rows = "".join(
        f'<tr{" class=set" if _is_set(origin) else ""}><td class="key">{escape(key)}</td>'
        f'<td class="value">{escape(value)}</td><td class="origin">{escape(origin)}</td></tr>'
        for key, value, origin in sorted(leaves)
    )
    return f'<div class="scroll"><table><tr><th>key<th>value<th>origin</tr>{rows}</table></div>'


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _environment(env: Row) -> str:
    if not env:
        return ""
    starts = env.get("starts", [])
    kept = {key: value for key, value in env.items() if key not in ("starts", "packages")}
    plain = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in kept.items()]
    packages = ", ".join(f"{name} {version}" for name, version in env.get("packages", {}).items())
    lines = [*plain, ("packages", packages)]
    rows = "".join(
        f'<tr><td class="key">{escape(k)}</td><td class="value">{escape(v)}</td></tr>' for k, v in lines
    )
    begun = "".join(
        f'<tr><td class="key">{escape(str(s.get("at", "")))}</td><td>after step {s.get("step", 0):,}, '
        f'ranks: {s.get("world", 1)}, {escape(str(s.get("device", "")))}</td>'
        f'<td class="value">{escape(" ".join(s.get("command", [])))}</td></tr>'
        for s in starts
    )
    return (
        f'<h2>Environment</h2><div class="card"><div class="scroll"><table>{rows}</table></div>'
        f"<details open><summary>Starts <span>{len(starts)}</span></summary>"
        f'<div class="scroll"><table>{begun}</table></div></details></div>'
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
