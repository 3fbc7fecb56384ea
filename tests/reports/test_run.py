"""Run folders: read as they are, refused with a remedy where they are not finished or not whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import experiment_run, make_run

from copamerge.bench.entries import Entry, merge_entry
from copamerge.errors import SuiteError
from copamerge.reports import Run, open_run, open_runs

FEW = (
    Entry("zero-shot", "zero-shot", "Zero-shot"),
    merge_entry("ties", title="ties"),
    merge_entry("copa", title="copa"),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", FEW, items=20)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_columns_are_in_the_suites_order_with_its_titles(table2: Run) -> None:
    titles = [column.title for column in table2.columns]

    assert titles[:3] == ["ScienceQA", "ImageNet", "VQAv2"] and titles[-1] == "TabMWP"
    assert [column.seen for column in table2.columns] == [True] * 8 + [False] * 4


def test_means_are_those_of_results_json(table2: Run) -> None:
    for mean in json.loads((table2.path / "results.json").read_text())["means"]:
        ours = table2.mean(mean["model"], mean["group"], mean["mode"])
        if mean["points"] is None:
            assert ours is None
        else:
            assert ours is not None and ours.points == pytest.approx(mean["points"])
            assert ours.stderr == pytest.approx(mean["stderr"])


def test_points_are_what_the_scores_say(table2: Run) -> None:
    for (model, task, mode), row in table2.rows.items():
        if row.points is not None:
            numbers = table2.statistics(model, task, mode)
            assert float(table2.combine(task)(numbers.mean(axis=0))) == pytest.approx(row.points)


def test_a_missing_number_has_a_reason(table2: Run) -> None:
    row = table2.row("individual", "knowledge", "official")

    assert row is not None and row.points is None
    assert row.reason == "no adapter was trained on it"
    assert table2.mean("individual", "unseen") is None


def test_a_run_of_chosen_methods_is_a_table_2_and_shows_full_names(run: Path) -> None:
    opened = open_run(run)

    assert opened.experiment == "table2"
    assert [model.shown for model in opened.models] == [
        "Zero-shot",
        "TIES-Merging",
        "CoPA-Merging",
    ]


def test_a_run_under_one_scale_rule_is_the_second_table(tmp_path: Path) -> None:
    entries = [merge_entry("copa", scale_rule="norm_match"), FEW[0]]

    assert open_run(make_run(tmp_path / "r", entries, items=5)).experiment == "table2-norm-match"


def test_defaults_are_told_from_choices(tmp_path: Path) -> None:
    entry = merge_entry("copa", options={"density": 0.2, "scale": 3.0})

    (model,) = open_run(make_run(tmp_path / "r", [entry], items=5)).models

    assert model.changed == {"scale": 3.0}


def test_an_unknown_suite_is_shown_by_its_rows(run: Path) -> None:
    edit(run / "run.json", lambda content: content.update(suite="theirs"))

    opened = open_run(run)

    assert opened.suite is None
    assert [c.title for c in opened.columns][:2] == ["science", "classes"]


def test_figure_places_follow_from_the_experiments_name(folder: Path, tradeoff: Run) -> None:
    assert all("x" not in m for m in json.loads((tradeoff.path / "run.json").read_text())["models"])
    assert tradeoff.places["copa-x0.5"] == 0.5
    assert "zero-shot" not in tradeoff.places


@pytest.mark.parametrize(
    ("break_it", "fact"),
    [
        (lambda run: (run / "results.json").unlink(), "interrupted"),
        (
            lambda run: edit(run / "run.json", lambda c: c.update(finished=False)),
            "interrupted, 0 units answered so far; run the command that made it again",
        ),
        (
            lambda run: edit(run / "run.json", lambda c: c.update(finished=False, models=[])),
            "interrupted",
        ),
        (
            lambda run: (run / "scores" / "ties" / "vqa.npz").unlink(),
            "1 of 36 scores are missing; run the command",
        ),
        (lambda run: (run / "run.json").write_text("{"), "not valid JSON"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json: content: Input should be"),
        (
            lambda run: edit(run / "run.json", lambda c: c["models"].pop()),
            "not of the same models \\(copa\\)",
        ),
        (
            lambda run: edit(run / "run.json", lambda c: c["models"][1].update(name="zero-shot")),
            "two models named 'zero-shot'",
        ),
        (
            lambda run: edit(run / "run.json", lambda c: c["models"][1].update(name="..")),
            "the model name '..'",
        ),
        (
            lambda run: edit(run / "run.json", lambda c: c["models"][1].update(name="a/../../b")),
            "models.1.name",
        ),
        (
            lambda run: edit(
                run / "results.json", lambda c: c["rows"][0].update(points=float("nan"))
            ),
            "rows.0.points: Input should be a finite number",
        ),
        (
            lambda run: edit(
                run / "results.json",
                lambda c: [r.update(points=None, stderr=None) for r in c["rows"]],
            ),
            "no model has any points",
        ),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(
    run: Path, break_it: Callable[[Path], None], fact: str
) -> None:
    break_it(run)

    with pytest.raises(SuiteError, match=fact):
        open_run(run)


def test_an_interrupted_experiment_says_how_many_units_are_missing(tmp_path: Path) -> None:
    path = experiment_run(tmp_path / "r", "table7", items=450)
    edit(path / "run.json", lambda content: content.update(finished=False, models=[]))
    (path / "answers").mkdir()
    for i in range(7):
        (path / "answers" / f"{i}.jsonl").touch()

    # Five models, twelve tasks, 450 items in pieces of 200.
    with pytest.raises(SuiteError, match="up to 173 of 180 units are missing"):
        open_run(path)


def test_scores_of_other_items_are_refused(run: Path) -> None:
    numbers = np.zeros((7, 1))
    np.savez(run / "scores" / "ties" / "vqa.npz", official=numbers, corrected=numbers)

    with pytest.raises(SuiteError, match=r"has shape \(7, 1\), but results.json counts 20 items"):
        open_run(run).statistics("ties", "vqa", "official")


def test_scores_never_run_code(run: Path) -> None:
    np.savez(run / "scores" / "ties" / "vqa.npz", official=np.array([print], dtype=object))

    with pytest.raises(SuiteError, match="cannot be read as scores"):
        open_run(run).statistics("ties", "vqa", "official")


def test_all_problems_of_all_runs_are_said_at_once(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(SuiteError) as caught:
        open_runs([run, tmp_path / "empty", tmp_path / "nowhere", run, tmp_path])

    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    assert "no run.json" in said and "does not exist" in said and "given twice" in said
    assert "its folders run are: give those" in said


def test_a_failed_model_is_shown_with_its_reason(tmp_path: Path) -> None:
    path = make_run(tmp_path / "r", FEW, items=10, models={"ties": {"failed": "out of luck"}})

    def lose(content: Any) -> None:
        for row in content["rows"]:
            if row["model"] == "ties":
                row.update(points=None, stderr=None, unreadable=None)

    edit(path / "results.json", lose)

    row = open_run(path).row("ties", "vqa", "official")
    assert row is not None and row.reason == "failed: out of luck"
