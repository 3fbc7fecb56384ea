"""Answers to points, without any model."""

from pathlib import Path

import numpy as np
import pytest
from echo import MINI

from copamerge.bench.metrics import METRICS, MODES
from copamerge.bench.score import means, row, save_scores, score
from copamerge.errors import SuiteError

VQA = MINI.by_name["vqa"]


@pytest.mark.parametrize("task", MINI.tasks, ids=lambda task: task.name)
def test_right_answers_get_all_points_and_wrong_ones_none(task) -> None:  # type: ignore[no-untyped-def]
    samples = task.samples("test", 30)
    ids = [sample.id for sample in samples]

    right = score(task, samples, ids, [sample.references[0] for sample in samples])
    wrong = score(task, samples, ids, ["%%"] * 30)

    for mode in MODES:
        assert right[mode].points > 0.95 * min(100.0, METRICS[task.metric].highest)
        assert right[mode].unreadable == 0
        assert wrong[mode].points < 1
        assert right[mode].items == 30


def test_points_and_error_are_those_of_the_statistics() -> None:
    samples = VQA.samples("test", 20)
    texts = [x.references[0] if i < 15 else "wrong" for i, x in enumerate(samples)]

    scored = score(VQA, samples, [x.id for x in samples], texts)["official"]

    assert scored.points == 75.0
    assert scored.statistics.sum() == 15
    # sd of 15 ones and 5 zeros, with n - 1, over sqrt(20): by hand.
    assert scored.stderr == pytest.approx(100 * (20 / 19 * 0.75 * 0.25) ** 0.5 / 20**0.5)


def test_answers_of_another_run_are_refused() -> None:
    samples, others = VQA.samples("test", 4), VQA.samples("test", 4, seed=1)
    texts = ["x"] * 4

    with pytest.raises(SuiteError, match="'vqa/test/1/0', which is not among them"):
        score(VQA, samples, [x.id for x in others], texts)
    with pytest.raises(SuiteError, match="3 answers to 4 samples"):
        score(VQA, samples, [x.id for x in samples[:3]], texts[:3])
    with pytest.raises(SuiteError, match="in another order"):
        score(VQA, samples, [x.id for x in reversed(samples)], texts)


def test_what_is_missing_is_null_and_never_a_number() -> None:
    one = row("m", VQA, "official", 10, None, "not asked")

    assert (one["points"], one["stderr"], one["unreadable"]) == (None, None, None)
    assert one["reason"] == "not asked"
    (seen,) = [x for x in means("m", [one]) if x["mode"] == "official"]
    assert seen == {
        "model": "m",
        "group": "seen",
        "mode": "official",
        "points": None,
        "stderr": None,
    }


def test_a_mean_is_over_all_tasks_of_its_group_or_null() -> None:
    tasks = [MINI.by_name[name] for name in ("vqa", "ocr", "tables")]
    base = {"unreadable": 0, "items": 5, "mode": "official", "model": "m"}
    rows = [
        {**base, "task": task.name, "seen": task.seen, "points": points, "stderr": 3.0}
        for task, points in zip(tasks, (10.0, 20.0, 60.0), strict=True)
    ]

    seen, unseen = means("m", rows)

    assert (seen["group"], seen["points"]) == ("seen", 15.0)
    assert seen["stderr"] == pytest.approx((9 + 9) ** 0.5 / 2)
    assert (unseen["group"], unseen["points"]) == ("unseen", 60.0)
    rows[0]["points"] = None
    assert means("m", rows)[0]["points"] is None
    assert means("other", rows) == []


def test_scores_are_kept_per_item(tmp_path: Path) -> None:
    samples = VQA.samples("test", 5)
    scores = score(VQA, samples, [x.id for x in samples], ["no"] * 5)

    path = save_scores(tmp_path / "m", "vqa", scores)

    with np.load(path) as stored:
        for mode in MODES:
            np.testing.assert_array_equal(stored[mode], scores[mode].statistics)
    assert [file.name for file in path.parent.iterdir()] == ["vqa.npz"]
