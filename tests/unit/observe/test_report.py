"""Charts and the report page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from mmask.errors import MmaskError, UsageError
from mmask.observe.charts import Series, chart, clean, short, smooth, ticks
from mmask.observe.figures import list_figures, write_png
from mmask.observe.report import write_report


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.93, 1.07, 5) == pytest.approx([0.95, 1.0, 1.05])
    for low, high in ((1e-6, 3e-6), (-5, 5), (1e5, 9e6)):
        found = ticks(low, high, 5)
        assert 3 <= len(found) <= 7
        assert low - 1e-9 <= found[0] < found[-1] <= high * (1 + 1e-9)


def test_many_points_are_thinned_without_moving_their_mean() -> None:
    points = [(float(i), float(i % 7)) for i in range(5000)]
    thin = clean(points)
    assert len(thin) <= 600
    assert np.mean([y for _, y in thin]) == pytest.approx(np.mean([y for _, y in points]), rel=1e-2)


def test_smoothing_a_constant_is_that_constant() -> None:
    assert [y for _, y in smooth([(i, 3.0) for i in range(100)])] == pytest.approx([3.0] * 100)


@pytest.mark.parametrize("points", [[(1, 2.0)], [(1, 2.0), (2, 2.0)], [(1, 1.0), (2, float("nan")), (3, 0.0)]])
def test_a_chart_is_well_formed_for_few_flat_and_missing_points(points: list[tuple[float, float]]) -> None:
    text = chart([Series("a <b>", points), Series("none", [])], label='x "y"')
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "a &lt;b&gt;" in text


def test_a_chart_of_nothing_says_so() -> None:
    assert "nothing was logged" in chart([Series("a", [])], label="x")


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0, 1.5e-4, 0.25, 12_345, 3e6)] == ["0", "1.5e-4", "0.25", "12.3k", "3M"]


def test_pictures_are_listed_by_step_and_must_be_rgb(tmp_path: Path) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    for step in (100, 20):
        write_png(tmp_path / f"step-{step:06d}.png", image)
    assert [step for step, _ in list_figures(tmp_path)] == [20, 100]
    with pytest.raises(MmaskError, match="uint8"):
        write_png(tmp_path / "x.png", image.astype(np.float32))


def test_a_report_of_a_run_that_has_just_begun_is_written(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'name = "<x>"\nunset = ["optim.clip"]\n[optim]\nlr = 1.0\n[origin]\n"optim.lr" = "command line"\n'
    )
    page = write_report(tmp_path).read_text()
    assert "&lt;x&gt;" in page and "<x>" not in page
    assert "No step was logged yet" in page
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": None, "lr": 0.1}) + "\n")
    assert "<svg" in write_report(tmp_path).read_text()


def test_metrics_of_an_objective_have_a_chart_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n[objectives.words]\nuse = "masked"\n')
    each = {"loss": 2.0, "words": 2.0, "other": 3.0, "tokens": 9, "tokens_per_s": 9.0}
    rows = [{"step": s, **each, "words_accuracy": s / 9} for s in (1, 2, 3)]
    rows[2] |= {"val_loss": 2.0, "val_words": 2.0, "val_words_accuracy": 0.4}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = write_report(tmp_path).read_text()
    card = page[page.index("Metrics of words") :]
    card = card[: card.index("</figure>")]
    assert "accuracy, held out" in card
    assert '"percent": true' in card
    terms = page[page.index("<h3>Loss terms") :]
    terms = terms[: terms.index("</figure>")]
    assert "words_accuracy" not in terms and "tokens" not in terms and "words, held out" in terms
    assert "<h3>Tokens a second" in page


def test_shares_and_large_numbers_have_a_chart_each(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n[objectives.pair]\nuse = "contrast"\n')
    rows = [{"step": s, "loss": 2.0, "pair": 2.0, "pair_accuracy": 0.1, "pair_scale": 14.0} for s in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shares, others = write_report(tmp_path).read_text().split("Metrics of pair")[1:]
    assert '"percent": true' in shares and "scale" not in shares.partition("</figure>")[0]
    assert '"percent": false' in others and "accuracy" not in others.partition("</figure>")[0]


def test_pictures_that_are_wide_are_shown_at_their_size(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    write_png(tmp_path / "figures" / "step-000001.png", np.zeros((4, 900, 3), np.uint8))
    write_png(tmp_path / "figures" / "step-000002.png", np.zeros((4, 300, 3), np.uint8))
    page = write_report(tmp_path).read_text()
    assert page.count("--room: 900px") == 1 and page.count("<figure") == 2


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run"):
        write_report(tmp_path)


def test_evaluations_that_lie_with_the_run_are_on_its_page(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n')
    folder = tmp_path / "eval"
    write_png(folder / "retrieval-text.png", np.zeros((4, 30, 3), np.uint8))
    write_png(folder / "retrieval-few-text.png", np.zeros((4, 31, 3), np.uint8))
    result = {
        "task": "retrieval", "step": 40, "init": "trained", "features": "encoder", "labels": "none",
        "seeds": [{}, {}], "data": {"test_samples": 80},
        "summary": {
            "text_r1": {"mean": 0.1375, "half": 0.01, "shown": "13.8% ± 1.0%"}, "old": {"mean": 2.0, "half": None},
        },
    }
    (folder / "retrieval.json").write_text(json.dumps({"results": [result]}))
    (folder / "no-result.json").write_text("[1]")
    (folder / "torn.json").write_text("{")
    page = write_report(tmp_path).read_text()
    assert "13.8% ± 1.0%" in page and ">2<" in page and "80 test samples, 2 seeds" in page
    assert page.count("<img") == 1 and 'alt="retrieval-text"' in page
