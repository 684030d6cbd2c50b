"""Questions of the video table: the words of a question tell nothing, and numbers are read as they are meant."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmask_video.dataset import moving_emoji

sys.path.append(str(Path(__file__).parents[3] / "tools" / "bench"))

from video_questions import KINDS, majority, others, questions, shares, write

URLS = [str(url) for url in moving_emoji()["val"]]


@pytest.mark.parametrize("seed", range(20))
def test_other_kinds_are_the_same_ones_and_none_stays(seed):
    rng = np.random.default_rng(seed)
    kinds = [str(one) for one in rng.choice(sorted(KINDS)[: 2 + seed % 7], int(rng.integers(2, 60)))]
    if 2 * max(Counter(kinds).values()) > len(kinds):
        with pytest.raises(ValueError, match="half"):
            others(kinds, seed)
        return
    found = others(kinds, seed)
    assert Counter(found) == Counter(kinds)
    assert all(a != b for a, b in zip(found, kinds, strict=True))


def test_each_kind_is_asked_for_with_as_many_right_as_wrong_clips():
    rows = questions(URLS, 40)
    checks = Counter((row["question"], row["answer"]) for row in rows if row["question"] != "what is it ?")
    assert all(checks[question, "yes"] == checks[question, "no"] for question, _ in checks)
    assert max(Counter(row["answer"] for row in rows if row["question"] == "what is it ?").values()) <= 40


def test_who_knows_the_questions_alone_is_right_for_half_of_the_checks(tmp_path):
    file = write(URLS, 40, tmp_path / "new.jsonl")
    known = majority(file, file)
    assert known["is"] == 0.5
    assert known["all"] == pytest.approx((2 * known["is"] + known["what"]) / 3)


def test_shares_of_answers():
    classes, counts = ["a face", "no", "yes"], [[3, 0, 1], [0, 2, 2], [0, 1, 3]]
    assert shares(counts, classes) == {"all": 8 / 12, "is": 5 / 8, "what": 3 / 4}
