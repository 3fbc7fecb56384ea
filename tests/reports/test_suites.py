"""Reports on suites other than the mini one: true words, no nonsense columns, nothing lost."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import experiment_run
from fake_suites import CLIP8, GENERAL, MERGEBENCH, METHODS, OWN, general_run, made_of, suite_run
from test_page import checked

from copamerge.bench.entries import REFERENCES, Entry, merge_entry
from copamerge.bench.experiments import EXPERIMENTS
from copamerge.reports import Run, open_run, write_report
from copamerge.reports.figures import FROM_RUNS
from copamerge.reports.gaps import Gaps
from copamerge.reports.makeup import MANY, makeup
from copamerge.reports.markdown import markdown
from copamerge.reports.paper import CAVEAT, CAVEATS, PRINTED_8, SWAPPED, TABLES
from copamerge.reports.provenance import commands
from copamerge.reports.spreadsheet import csv_text
from copamerge.reports.tables import paper_row, table
from copamerge.reports.verdicts import against
from copamerge.suites import suite_named

SWAP = "stand under their own names"
MTL_AND_MERGES = (REFERENCES[2], *map(merge_entry, METHODS))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suites")


@pytest.fixture(scope="module")
def runs(root: Path) -> dict[str, Run]:
    made = {
        "mm": suite_run(root / "mm", "mm-mergebench", MERGEBENCH, alter=made_of, items=30,
                        bugs={"imagenet": 4}),
        "general": general_run(root / "general", items=30),
        "clip4": suite_run(root / "clip4", "clip8", CLIP8, experiment="table4", items=30),
        "clip5": suite_run(root / "clip5", "clip8", CLIP8, experiment="table5", items=30),
        "clip": suite_run(root / "clip", "clip8", CLIP8, items=30),
        "own": suite_run(root / "own", "my birds", OWN, items=30),
        "unseen": suite_run(root / "unseen", "theirs", GENERAL[::2], items=30),
    }  # fmt: skip
    return {name: open_run(path) for name, path in made.items()}


@pytest.fixture(scope="module")
def reports(root: Path, runs: dict[str, Run]) -> dict[str, Path]:
    found = {}
    for name, run in runs.items():
        found[name] = root / f"report-{name}"
        write_report([run], found[name], resamples=100, figures=False)
    return found


NAMES = ("mm", "general", "clip4", "clip5", "clip", "own", "unseen")


@pytest.mark.parametrize("name", NAMES)
def test_every_suite_has_a_page_of_its_own(name: str, reports: dict[str, Path]) -> None:
    page = reports[name] / "index.html"
    found = checked(page)

    assert page.stat().st_size < 3_000_000
    assert found.scripts == 1 and not found.handlers and not found.fetched
    text = page.read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert CAVEAT not in " ".join(found.text) and "MM-MergeBench mini" not in text
    assert "None items" not in text and "nan" not in " ".join(found.text).lower().split()
    assert "<b>mine</b>" not in text


@pytest.mark.parametrize(
    ("name", "label"),
    [("mm", "Table 2"), ("general", "Table 3"), ("clip4", "Table 4"), ("clip5", "Table 5")],
)
def test_the_papers_table_stands_beside_the_suites_run(
    name: str, label: str, runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    run = runs[name]
    made = table(run)
    copa = next(line for line in made.lines if line.model.name == "copa")
    printed = TABLES[run.record.suite][run.experiment]
    row = printed.rows["copa"]

    for head, cell in zip(made.heads, copa.cells, strict=True):
        wanted = {"seen": row.seen, "unseen": row.unseen}.get(head.key)
        wanted = printed.points(row, head.key) if wanted is None else wanted
        assert cell.paper == row.printed(wanted)
    said = " ".join(made.notes)
    assert f"{label}. {CAVEATS[run.record.suite]}" in said
    for file in ("tables.md", "index.html"):
        text = (reports[name] / file).read_text()
        assert label in text and CAVEATS[run.record.suite].split(".")[0].split("'")[0] in text


@pytest.mark.parametrize("name", ["clip", "own", "unseen"])
def test_other_runs_have_no_numbers_of_the_paper(name: str, runs: dict[str, Run]) -> None:
    assert not table(runs[name]).has_paper
    assert all(paper_row(runs[name], model) is None for model in runs[name].models)
    assert runs[name].experiment == "methods"
    hint = "--experiment table4 (ViT-B/32) or table5 (ViT-L/14)"
    assert (hint in " ".join(table(runs[name]).notes)) == (name == "clip")


@pytest.mark.parametrize("name", ["clip4", "clip5"])
def test_relabelled_columns_say_so_wherever_they_appear(
    name: str, runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    run, out = runs[name], reports[name]
    made = table(run)
    marked = {head.key: head.dagger for head in made.heads}

    swapped = {marked[task] for task in SWAPPED}
    assert len(swapped) == 1 and "" not in swapped
    assert not any(marked[task] for task in ("gtsrb", "mnist", "svhn"))
    assert bool(marked["cars"]) == (name == "clip5")
    for file in ("tables.md", "index.html", f"tables/table{name[-1]}.md"):
        assert SWAP in (out / file).read_text().replace("\\", "")
    rows = list(csv.DictReader(io.StringIO((out / f"tables/table{name[-1]}.csv").read_text())))
    for line in rows:
        has = any(line[f"{task} paper"] for task in PRINTED_8)
        assert has == (SWAP in line["paper source"])
    record = json.loads((out / "report.json").read_text())["sections"][0]
    assert SWAP in record["paper"]["source"]
    # What the paper prints under RESISC45 is DTD's.
    copa = next(row for row in rows if row["model"] == "copa")
    assert copa["dtd paper"] == {"clip4": "44.7", "clip5": "58.2"}[name]


def test_tasks_in_unlike_units_have_no_means_anywhere(
    runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    run, out = runs["general"], reports["general"]

    assert [head.title for head in table(run).heads] == ["POPE", "MME", "MMBench"]
    assert run.mean("copa", "unseen") is None and run.groups == ()
    for file in ("tables.md", "index.html", "tables/table3.csv"):
        text = (out / file).read_text()
        assert "nseen mean" not in text and "percent of individual" not in text
    assert "there is no mean over them" in (out / "tables.md").read_text()
    record = json.loads((out / "report.json").read_text())["sections"][0]
    assert record["averaged"] is False
    assert set(record["tables"][0]["models"]["copa"]) == {"pope", "mme", "mmbench"}


def test_tasks_in_unlike_units_are_judged_one_by_one(
    runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    found = against(runs["general"], "copa", ["ties", "dare"], resamples=100)

    assert {verdict.group for verdict in found.found} == {"pope", "mmbench"}
    text = (reports["general"] / "tables.md").read_text()
    assert "POPE, against CoPA-Merging" in text and "Unseen, against" not in text
    (remark,) = json.loads((reports["general"] / "report.json").read_text())["remarks"]
    assert "differences that mme take part in are not judged" in remark


def test_points_above_100_are_numbers_like_others(runs: dict[str, Run]) -> None:
    text = markdown(table(runs["general"]))

    row = runs["general"].rows["mtl", "mme", "official"]
    assert row.points is not None and row.points > 100
    assert f"| {row.points:.1f} ± {row.stderr:.1f} |" in text and "*1494.9*" in text


@pytest.mark.parametrize("name", ["clip4", "own"])
def test_a_suite_of_seen_tasks_has_no_unseen_columns(
    name: str, runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    assert [head.key for head in table(runs[name]).heads if head.mean] == ["seen"]
    assert "Unseen" not in (reports[name] / "tables.md").read_text()


def test_a_suite_of_unseen_tasks_has_no_seen_columns(
    runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    assert [head.key for head in table(runs["unseen"]).heads if head.mean] == ["unseen"]
    text = (reports["unseen"] / "tables.md").read_text()
    assert "Seen" not in text and "Unseen − MTL" in text
    assert "no adapter was trained" in text or "the run has none" in text


def test_both_modes_have_gaps_where_both_have_tables(
    runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    record = json.loads((reports["mm"] / "report.json").read_text())["sections"][0]

    assert [made["mode"] for made in record["tables"]] == ["official", "corrected"]
    assert [made["mode"] for made in record["gaps"]] == ["official"] * 4 + ["corrected"] * 4
    official, corrected = (
        record["gaps"][i]["models"]["copa"]["seen percent of individual"] for i in (0, 4)
    )
    assert official["points"] != corrected["points"]
    assert official["stderr"] > 0 and official["paper"] == 84.9 and "paper" not in corrected
    unseen = record["gaps"][2]["models"]["individual"]["tabmwp less mtl"]
    assert unseen["points"] is None and "no adapter of its own" in unseen["reason"]
    for file in ("tables.md", "index.html"):
        text = (reports["mm"] / file).read_text()
        assert "Beside individual and multi-task models, corrected" in text
    rows = list(csv.DictReader(io.StringIO((reports["mm"] / "tables/table2.csv").read_text())))
    copa = [row for row in rows if row["model"] == "copa"]
    assert float(copa[0]["seen percent of individual"]) == official["points"]
    assert float(copa[1]["seen percent of individual"]) == corrected["points"]
    assert copa[0]["seen less mtl paper"] == "-6.29"


def test_parts_and_categories_are_shown_by_model(
    runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    found = {made.column.task: made for made in makeup(runs["general"])}

    mme = found["mme"].grids[0]
    assert mme.heads[:3] == ("perception", "cognition", "existence")
    row = runs["general"].rows["copa", "mme", "official"]
    assert dict(zip(mme.heads, mme.rows[-1][1], strict=True))["perception"] == f"{row.points:.1f}"
    assert "60 answers as 30 groups" in found["mme"].notes[0]
    pope = found["pope"].grids[0]
    assert pope.rows[0][1] == ("88.1", "0.470")
    kinds = found["mmbench"].grids[0]
    assert kinds.heads[0] == "kind 0 (20)" and len(kinds.heads) == MANY
    assert kinds.note == "10 more columns are in results.json."
    for file in ("tables.md", "index.html"):
        text = (reports["general"] / file).read_text()
        assert "What the points are made of" in text and "random yes ratio" in text
    record = json.loads((reports["general"] / "report.json").read_text())["sections"][0]
    pope_row = next(x for x in record["made_of"] if x["task"] == "pope" and x["model"] == "copa")
    assert pope_row["parts"] == {"random F1": 88.1, "random yes ratio": 0.47}


def test_empty_and_unasked_answers_have_columns_and_words(
    runs: dict[str, Run], reports: dict[str, Path]
) -> None:
    made = table(runs["mm"])
    ties = next(line for line in made.lines if line.model.name == "ties")

    assert made.extras == ("Unreadable", "Empty", "Not asked")
    assert [ties.extra(head) for head in made.extras] == ["12", "17", "2"]
    assert table(runs["clip"]).extras == ("Unreadable",)
    said = " ".join(made.notes)
    assert "by `two_way_substring` the official rule scores them as right" in said
    (imagenet,) = [
        x for x in makeup(runs["mm"]) if x.column.task == "imagenet" and x.mode == "official"
    ]
    by_model = {model.name: cells for model, cells in imagenet.grids[-1].rows}
    assert by_model["ties"] == ("30", "17", "1", "2") and by_model["copa"][1] == "0"
    row = next(csv.DictReader(io.StringIO(csv_text(runs["mm"]))))
    assert (row["empty"], row["not asked"]) == ("0", "0")


def test_a_run_with_nothing_to_tell_has_no_such_section(runs: dict[str, Run]) -> None:
    assert makeup(runs["clip"]) == ()


def test_commands_repeat_what_was_run(runs: dict[str, Run]) -> None:
    bench, _ = commands([runs["clip4"]], "out")

    assert bench.startswith(
        "copamerge bench clip8 --experiment table4 --data /data/theirs --base /models/theirs "
        "--seed 0"
    )
    assert "--items" not in bench and "--zoo /zoos/theirs" in bench


def test_a_single_item_is_shown_and_not_judged(tmp_path: Path) -> None:
    run = open_run(suite_run(tmp_path / "r", "theirs", OWN, items=1))

    write_report([run], tmp_path / "report", resamples=100, figures=False)

    text = (tmp_path / "report" / "tables.md").read_text()
    assert "Which differences" not in text and " ± " not in text.split("\n\n- ")[0]
    (remark,) = json.loads((tmp_path / "report" / "report.json").read_text())["remarks"]
    assert "birds, stones" in remark


def test_only_models_of_a_stranger_are_a_report_too(tmp_path: Path) -> None:
    entries = [Entry("mine", "adapter", "Mine"), Entry("base", "zero-shot", "Zero-Shot")]
    run = open_run(suite_run(tmp_path / "r", "theirs", OWN, entries, items=10))

    write_report([run], tmp_path / "report", resamples=100, figures=False)

    text = (tmp_path / "report" / "tables.md").read_text()
    assert "Beside" not in text and "compared with a multi-task model: the run has none" in text


@pytest.mark.parametrize("suite", ["clip8", "mm-general"])
@pytest.mark.parametrize("name", [*FROM_RUNS])
def test_no_figure_breaks_on_a_suite_of_other_tasks(name: str, suite: str, tmp_path: Path) -> None:
    columns: Any = CLIP8 if suite == "clip8" else GENERAL
    mini = suite_named("mini")
    entries = [
        Entry(**{**vars(entry), "tasks": None, "adapters": None})
        for entry in EXPERIMENTS[name].models(mini)[:6]
    ]
    averaged = suite == "clip8"
    path = suite_run(
        tmp_path / "r",
        suite,
        columns,
        entries,
        experiment=name,
        items=5,
        record={"averaged": averaged},
        models={entry.name: {"x": entry.x} for entry in entries},
    )

    write_report([open_run(path)], tmp_path / "report", resamples=100)

    drawn = {file.name for file in (tmp_path / "report" / "figures").glob("*")}
    remarks = json.loads((tmp_path / "report" / "report.json").read_text())["remarks"]
    if averaged and name != "tradeoff":
        assert f"{name}.svg" in drawn
    else:
        assert not drawn and any(f"{name} is not drawn" in remark for remark in remarks)


def test_a_figure_of_means_over_runs_shows_the_groups_there_are(tmp_path: Path) -> None:
    entries = EXPERIMENTS["figure6c"].models(suite_named("mini"))
    path = suite_run(
        tmp_path / "r",
        "clip8",
        CLIP8,
        entries,
        experiment="figure6c",
        items=5,
        models={entry.name: {"x": entry.x} for entry in entries},
    )

    write_report([open_run(path)], tmp_path / "report", resamples=100)

    assert "Unseen" not in (tmp_path / "report" / "figures" / "figure6c.svg").read_text()


def test_a_mini_run_keeps_its_own_words(tmp_path: Path) -> None:
    run = open_run(experiment_run(tmp_path / "r", "table2", items=10))
    write_report([run], tmp_path / "report", resamples=100, figures=False)

    text = (tmp_path / "report" / "index.html").read_text()
    assert "MM-MergeBench mini" in text and "tasks made by code" in text
    assert "Beside individual and multi-task models" in text
    assert Gaps(run, 100).missing == ()
