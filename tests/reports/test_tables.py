"""Tables: the paper's layout, its numbers beside ours, missing numbers with a reason."""

import csv
import io
from pathlib import Path

import pytest
from fake_runs import experiment_run, make_run

from copamerge.bench.entries import Entry, merge_entry
from copamerge.reports import Run, open_run
from copamerge.reports.markdown import escaped, markdown, verdict_markdown
from copamerge.reports.spreadsheet import csv_text
from copamerge.reports.tables import MISSING, baseline, modes_differ, table
from copamerge.reports.verdicts import Verdicts, against


def rows_of(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_table_2_has_the_papers_layout(table2: Run) -> None:
    heads = rows_of(markdown(table(table2)))[0]

    assert heads[1:4] == ["ScienceQA", "ImageNet", "VQAv2"]
    assert heads[9] == "Seen mean" and heads[14] == "Unseen mean"
    assert heads[6] == "VizWiz-caption †"


def test_the_papers_numbers_stand_under_ours_as_printed(table2: Run) -> None:
    rows = rows_of(markdown(table(table2)))
    at = next(i for i, row in enumerate(rows) if row[0] == "CoPA-Merging")

    assert rows[at + 1][0] == "*paper*"
    assert rows[at + 1][1] == "*73.43*" and rows[at + 1][4] == "*44.80*"
    assert rows[at + 1][9] == "*57.33*" and rows[at + 1][14] == "*37.99*"


def test_methods_that_the_paper_does_not_have_stand_alone(table2: Run) -> None:
    rows = rows_of(markdown(table(table2)))
    at = next(i for i, row in enumerate(rows) if row[0].startswith("RobustMerge"))

    assert rows[at + 1][0] != "*paper*"


def test_every_number_has_its_standard_error(table2: Run) -> None:
    for line in table(table2).lines:
        for cell in line.cells:
            assert (cell.points is None) == (cell.stderr is None)


def test_a_missing_number_is_a_dash_and_says_why(table2: Run) -> None:
    text = markdown(table(table2))
    individual = next(row for row in rows_of(text) if row[0] == "Individual")

    assert individual[10:15] == [MISSING] * 5
    assert "Individual: no adapter was trained on it." in text


def test_the_caveat_stands_wherever_the_papers_numbers_do(
    table2: Run, table6: Run, table7: Run, tradeoff: Run
) -> None:
    for run in (table2, table6, table7):
        assert "tests the method and the code path" in markdown(table(run))
    assert "tests the method" not in markdown(table(tradeoff))


def test_a_method_with_other_options_is_not_the_papers_row(tmp_path: Path) -> None:
    entries = [
        merge_entry("copa", options={"scale": 3.0}),
        merge_entry("ties", multiple=0.5),
        merge_entry("dare"),
    ]
    run = open_run(make_run(tmp_path / "r", entries, items=5))

    paper = [any(cell.paper for cell in line.cells) for line in table(run).lines]
    assert paper == [False, False, True]


def test_table_7_is_two_means_with_the_papers(table7: Run) -> None:
    made = table(table7, brief=True)

    assert [head.title for head in made.heads] == ["Seen mean", "Unseen mean"]
    assert [cell.paper for cell in made.lines[-1].cells] == ["57.3", "38.0"]
    assert [cell.paper for cell in made.lines[0].cells] == ["54.1", "32.5"]


def test_table_6_has_seen_numbers_of_the_paper_only(table6: Run) -> None:
    found = {line.model.name: line.cells for line in table(table6).lines}

    assert found["copa"][8].paper == "57.33" and found["copa"][-1].paper is None
    assert found["sum-one-size"][0].paper == "71.94"
    assert all(cell.paper is None for cell in found["prune-one-size"])


def test_a_mean_over_fewer_tasks_says_so(tmp_path: Path) -> None:
    run = open_run(experiment_run(tmp_path / "r", "figure4", items=5))

    text = markdown(table(run))

    assert "(2)" in text and "A mean over k tasks" in text


def test_unreadable_answers_and_scales_have_columns_where_there_are_any(
    table2: Run, table7: Run, tradeoff: Run
) -> None:
    assert table(table2).extras == ("Unreadable",)
    assert table(table7).extras == ()
    assert table(tradeoff).extras == ("Scale ×", "Unreadable") or table(tradeoff).extras == (
        "Scale ×",
    )
    ties = next(line for line in table(table2).lines if line.model.name == "ties")
    assert ties.extra("Unreadable") == "12"


def test_the_csv_has_every_model_in_both_modes(table2: Run) -> None:
    found = list(csv.DictReader(io.StringIO(csv_text(table2))))

    assert len(found) == 2 * len(table2.models)
    copa = next(row for row in found if row["model"] == "copa" and row["mode"] == "official")
    assert copa["seen mean paper"] == "57.33"
    assert float(copa["vqa"]) == table2.rows["copa", "vqa", "official"].points
    individual = next(row for row in found if row["model"] == "individual")
    assert individual["unseen mean"] == ""


HOSTILE = "=1+1|<script>alert(1)</script>\n# head *x* `y`"


@pytest.fixture
def hostile(tmp_path: Path) -> Run:
    entry = Entry("zero-shot", "zero-shot", HOSTILE)
    return open_run(make_run(tmp_path / "r", [entry, merge_entry("copa")], items=5))


def test_a_strangers_text_stays_in_its_cell(hostile: Run) -> None:
    text = markdown(table(hostile))

    assert "<script>" not in text
    assert all(len(row) == 15 for row in rows_of(text.replace(r"\|", "")))


def test_a_strangers_text_is_no_formula_in_a_spreadsheet(hostile: Run) -> None:
    found = list(csv.DictReader(io.StringIO(csv_text(hostile))))

    assert found[0]["title"].startswith("'=1+1")


def test_escaping_shows_text_as_it_is() -> None:
    assert escaped("a|b\n*c* <i>`d`") == r"a\|b \*c\* \<i\>\`d\`"
    assert escaped("`a`", code=True) == "`a`"


def test_verdicts_are_a_table_of_their_own(table2: Run) -> None:
    found = against(table2, "copa", ["mean", "mtl", "copa"], resamples=100)

    text = verdict_markdown(table2, [found])

    rows = rows_of(text)
    assert rows[0] == ["Method", "Seen, against CoPA-Merging", "Unseen, against CoPA-Merging"]
    assert [row[0] for row in rows[2:]] == ["Traditional MTL", "Mean of the deltas"]
    assert "4 comparisons were made here" in text
    assert "Holm" in text
    assert "flattered" not in text
    assert "flattered" in verdict_markdown(table2, [Verdicts("mean", ())])


def test_copa_as_published_is_what_others_are_compared_with(
    table2: Run, table6: Run, table7: Run
) -> None:
    assert baseline(table2) == "copa"
    assert baseline(table6) == "copa"
    assert baseline(table6, "norm_match") == "copa-one-size"
    assert baseline(table7) == "coefficients-inter"


def test_modes_that_agree_are_shown_once(table2: Run) -> None:
    assert not modes_differ(table2)
