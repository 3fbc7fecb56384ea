"""What `bench` and `evaluate` print of runs of any suite."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_suites import CLIP8, MERGEBENCH, general_run, made_of, suite_run

from copamerge.bench.record import Run
from copamerge.cli._table import answer_lines, show_models, show_tasks


def opened(path: Path) -> Run:
    record, results = (
        json.loads((path / name).read_text()) for name in ("run.json", "results.json")
    )
    return Run(path, record, results)


@pytest.fixture(scope="module")
def mm(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("cli") / "mm"
    return opened(suite_run(path, "mm-mergebench", MERGEBENCH, alter=made_of, items=20))


@pytest.mark.parametrize("show", [show_models, show_tasks])
def test_lines_below_the_table_say_what_numbers_do_not(
    show: Any, mm: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    show(mm)

    *_, empty, unasked, without = capsys.readouterr().out.splitlines()
    assert empty == (
        "empty answers: imagenet: ties 17 of 20 (the official rule scores them as right; "
        "corrected does not)"
    )
    assert unasked == "could not be asked: imagenet: ties 2 of 20 (counted as wrong)"
    assert without == (
        "no points: individual on aokvqa, imagenet_r, screen2words, tabmwp: "
        "no adapter of its own was trained on this task"
    )


def test_a_strict_metric_needs_no_word_on_empty_answers() -> None:
    row = {
        "model": "a",
        "task": "vqav2",
        "mode": "official",
        "metric": "exact_upper",
        "empty": 3,
        "answers": 9,
        "points": 1.0,
    }

    assert list(answer_lines([row, {**row, "mode": "corrected"}])) == [
        "empty answers: vqav2: a 3 of 9"
    ]
    assert list(answer_lines([{**row, "empty": 0, "unasked": None}])) == []
    many = [{**row, "model": f"m{i}", "empty": i + 1, "unasked": None} for i in range(6)]
    (line,) = answer_lines(many)
    assert "6 models, 1 to 6 of" in line and "(most: m5)" in line


def test_models_that_failed_are_not_said_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(row: dict[str, Any]) -> None:
        if row["model"] == "ties":
            row.update(points=None, stderr=None, reason="out of luck")

    failed = {"ties": {"failed": "out of luck"}}
    show_models(opened(suite_run(tmp_path / "r", "clip8", CLIP8, alter=lose, models=failed)))

    assert "out of luck" not in capsys.readouterr().out


def test_a_suite_without_unseen_tasks_has_no_such_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_models(opened(suite_run(tmp_path / "r", "clip8", CLIP8, items=10)))

    out = capsys.readouterr().out
    assert "seen" in out and "unseen" not in out and "official points" in out


@pytest.mark.parametrize("show", [show_models, show_tasks])
def test_tasks_in_unlike_units_have_both_modes_and_no_mean(
    show: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(general_run(tmp_path / "r", items=40, bugs={"pope": 3}))
    show(run)

    out = capsys.readouterr().out
    assert "mean" not in out and "seen" not in out
    for mode in ("official", "corrected"):
        (row,) = [
            x
            for x in run.results["rows"]
            if (x["model"], x["task"], x["mode"]) == ("copa", "pope", mode)
        ]
        assert f"{row['points']:.1f} ± {row['stderr']:.1f}" in out
    mme = next(x for x in run.results["rows"] if x["model"] == "mtl" and x["task"] == "mme")
    assert mme["points"] > 100 and f"{mme['points']:.1f} ± {mme['stderr']:.1f}" in out
