"""Gaps and normalised accuracy: against plain formulas, with errors against other derivations."""

import json
import random
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from fake_suites import CLIP8, FakeTask, general_run, suite_run

from copamerge.bench.entries import REFERENCES, Entry, merge_entry
from copamerge.bench.metrics import METRICS
from copamerge.bench.statistics import paired_bootstrap, resampled_points
from copamerge.errors import CopamergeError
from copamerge.reports import Run, open_run
from copamerge.reports.gap_tables import gap_tables
from copamerge.reports.gaps import Column, Gaps, Measure, paper_gap
from copamerge.reports.paper import TABLES
from copamerge.reports.run import TaskSet

ENTRIES = (*REFERENCES, merge_entry("copa"), merge_entry("ties"))


def column(run: Run, measure: Measure, key: str = "seen") -> Column:
    gaps = Gaps(run, 100)
    return next(
        c
        for each in gaps.columns.values()
        for c in each
        if c.measure == measure and c.over.key == key
    )


def points(run: Run, model: str, mode: Any = "official") -> list[float]:
    rows = [run.row(model, task, mode) for task in run.asked("seen")]
    return [row.points for row in rows if row is not None and row.points is not None]


def items(run: Run, model: str, task: str, mode: Any = "official") -> list[float]:
    return [float(x) for x in run.statistics(model, task, mode)[:, 0]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("gaps") / "clip"
    bugs = {"cars": 5}
    return open_run(suite_run(path, "clip8", CLIP8, ENTRIES, items=80, bugs=bugs))


@pytest.mark.parametrize("mode", ["official", "corrected"])
def test_gaps_are_differences_of_the_seen_means(clip: Run, mode: Any) -> None:
    gaps = Gaps(clip, 100)
    for measure, kind in (("individual", "individual"), ("mtl", "mtl")):
        found = gaps.of("copa", column(clip, measure), mode)  # type: ignore[arg-type]
        ours, theirs = points(clip, "copa", mode), points(clip, kind, mode)
        assert found.value == pytest.approx(mean(ours) - mean(theirs))
        assert found.tasks == 8


@pytest.mark.parametrize("mode", ["official", "corrected"])
def test_normalised_accuracy_is_the_mean_of_shares_in_percent(clip: Run, mode: Any) -> None:
    found = Gaps(clip, 100).of("copa", column(clip, "normalised"), mode)

    pairs = zip(points(clip, "copa", mode), points(clip, "individual", mode), strict=True)
    assert found.value == pytest.approx(mean(100 * a / b for a, b in pairs))


def test_the_error_of_a_gap_is_that_of_paired_differences(clip: Run) -> None:
    # Accuracy is linear: sd of the differences by item over sqrt(n), then over eight tasks.
    found = Gaps(clip, 4000).of("copa", column(clip, "mtl"), "official")

    variance = 0.0
    for task in clip.asked("seen"):
        ours, theirs = items(clip, "copa", task), items(clip, "mtl", task)
        differences = [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]
        variance += stdev(differences) ** 2 / len(differences)
    assert found.stderr == pytest.approx(variance**0.5 / 8, rel=0.06)
    # Not that of two models that were asked unlike items.
    rows = [clip.rows[m, t, "official"] for m in ("copa", "mtl") for t in clip.asked("seen")]
    unpaired = sum(row.stderr**2 for row in rows if row.stderr) ** 0.5 / 8
    assert found.stderr < 0.9 * unpaired  # type: ignore[operator]


def test_the_error_of_a_share_is_that_of_a_plain_bootstrap(clip: Run) -> None:
    task = "dtd"
    found = Gaps(clip, 4000).of("copa", column(clip, "normalised", task), "official")

    rng = random.Random(7)
    pairs = list(zip(items(clip, "copa", task), items(clip, "individual", task), strict=True))
    shares = []
    for _ in range(4000):
        drawn = rng.choices(pairs, k=len(pairs))
        shares.append(100 * sum(a for a, _ in drawn) / sum(b for _, b in drawn))
    assert found.stderr == pytest.approx(stdev(shares), rel=0.08)
    # And the delta method's, to first order.
    ours, theirs = mean(a for a, _ in pairs), mean(b for _, b in pairs)
    residues = [(a - ours / theirs * b) / theirs for a, b in pairs]
    assert found.stderr == pytest.approx(100 * stdev(residues) / len(pairs) ** 0.5, rel=0.08)


def test_the_error_of_captions_is_a_bootstrap_of_the_whole_set(table2: Run) -> None:
    # Corpus BLEU and CIDEr are no means over items: the points of each resample are made anew.
    task = "photo_caption"
    found = Gaps(table2, 2000).of("copa", column(table2, "individual", task), "official")

    combine = METRICS["caption6"].combine
    ours, theirs = (table2.statistics(m, task, "official") for m in ("copa", "individual"))
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(2000):
        places = rng.integers(0, len(ours), len(ours))
        drawn.append(float(combine(ours[places].mean(0)) - combine(theirs[places].mean(0))))
    assert found.stderr == pytest.approx(stdev(drawn), rel=0.1)


def test_a_reference_is_0_away_from_itself_and_100_percent(clip: Run) -> None:
    gaps = Gaps(clip, 100)

    own = gaps.of("individual", column(clip, "normalised"), "official")
    assert own.value == pytest.approx(100.0) and own.stderr == pytest.approx(0.0, abs=1e-9)
    same = gaps.of("mtl", column(clip, "mtl"), "official")
    assert (same.value, same.stderr) == (0.0, 0.0)


def test_the_same_run_gives_the_same_errors(clip: Run) -> None:
    one, two = (Gaps(clip, 100).of("ties", column(clip, "mtl"), "official") for _ in range(2))

    assert one == two


def test_resampled_points_are_paired_with_the_verdicts_draws() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2, (50, 1)).astype(float) for _ in range(2))

    def combine(mean: Any) -> Any:
        return 100.0 * mean[..., 0]

    drawn = resampled_points(a, combine) - resampled_points(b, combine)

    found = paired_bootstrap(a, b, combine)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([found.low, found.high])
    other = resampled_points(a, combine, stream=1)
    assert not np.array_equal(other, resampled_points(a, combine))


def test_resampled_points_refuse_what_has_no_luck() -> None:
    with pytest.raises(CopamergeError, match="needs two of them at least"):
        resampled_points(np.ones((1, 1)), lambda mean: mean[..., 0])
    with pytest.raises(CopamergeError, match="use 100 at least"):
        resampled_points(np.ones((5, 1)), lambda mean: mean[..., 0], resamples=3)


def change(path: Path, **fields: Any) -> None:
    """Set fields of the rows of `individual` on `cars`."""
    content = json.loads((path / "results.json").read_text())
    for row in content["rows"]:
        if row["model"] == "individual" and row["task"] == "cars":
            row.update(fields)
    (path / "results.json").write_text(json.dumps(content))


def test_where_individual_has_no_points_there_is_no_number_but_a_reason(tmp_path: Path) -> None:
    path = suite_run(tmp_path / "r", "clip8", CLIP8, ENTRIES, items=20)
    change(path, points=None, stderr=None, reason="out of memory")
    run = open_run(path)

    for measure in ("individual", "normalised"):
        found = Gaps(run, 100).of("copa", column(run, measure), "official")  # type: ignore[arg-type]
        assert found.value is None and found.stderr is None
        assert found.reason == "Individual has no points on cars"
    assert Gaps(run, 100).of("copa", column(run, "mtl"), "official").value is not None
    # By task, the others still have theirs.
    assert Gaps(run, 100).of("copa", column(run, "normalised", "dtd"), "official").value


def test_nothing_is_divided_by_0(tmp_path: Path) -> None:
    path = suite_run(tmp_path / "r", "clip8", CLIP8, ENTRIES, items=20)
    change(path, points=0.0, stderr=0.0)
    run = open_run(path)

    found = Gaps(run, 100).of("copa", column(run, "normalised"), "official")
    assert found.value is None and found.reason == "Individual has 0 points on cars"
    assert Gaps(run, 100).of("copa", column(run, "individual"), "official").value is not None


def test_an_individual_model_that_is_0_in_some_resamples_gives_no_error(tmp_path: Path) -> None:
    # One right answer of 30: a third of the resamples have none.
    path = suite_run(tmp_path / "r", "clip8", CLIP8[:1], ENTRIES, items=30)
    one = np.zeros((30, 1))
    one[0] = 1.0
    np.savez(path / "scores" / "individual" / "cars.npz", official=one, corrected=one)
    change(path, points=100 / 30)

    run = open_run(path)
    found = Gaps(run, 100).of("copa", column(run, "normalised"), "official")
    assert found.value is not None and found.stderr is None
    assert "0 points in some resamples" in str(found.unsure)
    said = " ".join(gap_tables(run, Gaps(run, 100), "official")[0].notes)
    assert "No standard error: cars: the individual model has 0 points" in said


def test_a_single_item_or_other_items_give_no_error(tmp_path: Path) -> None:
    one = open_run(suite_run(tmp_path / "one", "clip8", CLIP8[:1], ENTRIES, items=1))
    found = Gaps(one, 100).of("copa", column(one, "mtl"), "official")
    assert found.value is not None and found.stderr is None and found.unsure

    path = suite_run(tmp_path / "other", "clip8", CLIP8[:1], ENTRIES, items=20)
    change(path, items=19)
    run = open_run(path)
    found = Gaps(run, 100).of("copa", column(run, "individual"), "official")
    assert found.stderr is None and found.unsure == "cars: asked 20 and 19 items"


def test_a_model_that_was_asked_fewer_tasks_is_held_against_those(tmp_path: Path) -> None:
    few = merge_entry("copa", name="copa-2", tasks=("cars", "dtd"))
    run = open_run(suite_run(tmp_path / "r", "clip8", CLIP8, (*ENTRIES, few), items=20))

    found = Gaps(run, 100).of("copa-2", column(run, "mtl"), "official")
    assert found.tasks == 2
    made = gap_tables(run, Gaps(run, 100), "official")[0]
    assert made.lines[-1].cells[0].fewer == 2 and made.lines[0].cells[0].fewer is None
    assert any("(k) Over k tasks" in note for note in made.notes)


def test_without_references_there_are_no_gaps_but_words(table7: Run) -> None:
    gaps = Gaps(table7, 100)

    assert gap_tables(table7, gaps, "official") == ()
    assert len(gaps.missing) == 2 and "the run has none" in gaps.missing[0]


def test_of_several_references_the_first_is_named(tmp_path: Path) -> None:
    other = Entry("individual-own", "individual", "Individual, own A")
    run = open_run(suite_run(tmp_path / "r", "clip8", CLIP8, (*ENTRIES, other), items=10))

    assert Gaps(run, 100).missing == (
        "Of 2 rows of individual models the first counts: Individual.",
    )


def test_tasks_without_a_mean_have_gaps_one_by_one(tmp_path: Path) -> None:
    run = open_run(general_run(tmp_path / "r", items=20))
    made = gap_tables(run, Gaps(run, 100), "official")

    (table,) = made
    assert table.heading == "Points less the multi-task model's, by task"
    assert [head.title for head in table.heads] == ["POPE", "MME", "MMBench"]
    copa = table.lines[-1].cells
    row, other = (run.rows[name, "mme", "official"] for name in ("copa", "mtl"))
    assert copa[1].points == pytest.approx(row.points - other.points)  # type: ignore[operator]
    assert copa[1].stderr is None and copa[1].unsure
    assert copa[0].stderr is not None
    assert [cell.paper for cell in copa] == ["+0.3", "+61.4", "+5.2"]
    assert any("the run has none" in note for note in table.notes)


def test_the_papers_gaps_are_of_what_it_prints() -> None:
    table2, table5 = TABLES["mm-mergebench"]["table2"], TABLES["clip8"]["table5"]

    def over(measure: Measure, key: str, tasks: tuple[str, ...] = ()) -> Column:
        return Column(measure, TaskSet(key, key, tasks or (key,)), key in ("seen", "unseen"))

    copa = table2.rows["copa"]
    assert paper_gap(table2, copa, over("individual", "seen"), True) == pytest.approx(-11.90)
    assert paper_gap(table2, copa, over("mtl", "unseen"), True) == pytest.approx(1.93)
    assert paper_gap(table2, copa, over("individual", "seen"), False) is None
    assert paper_gap(table2, copa, over("individual", "aokvqa"), True) is None
    assert paper_gap(table2, copa, over("mtl", "aokvqa"), True) == pytest.approx(2.97)
    # Table 5: CoPA's EuroSAT is printed under SUN397.
    five = table5.rows["copa"]
    assert paper_gap(table5, five, over("normalised", "eurosat"), True) == pytest.approx(
        100 * 64.7 / 98.6
    )
    assert paper_gap(table5, five, over("mtl", "seen"), True) is None
    shares = [100 * a / b for a, b in zip(five.tasks, table5.rows["individual"].tasks, strict=True)]
    assert paper_gap(table5, five, over("normalised", "seen"), True) == pytest.approx(mean(shares))
    assert paper_gap(None, five, over("mtl", "seen"), True) is None


def test_a_run_of_some_tasks_has_not_the_papers_means(tmp_path: Path) -> None:
    run = open_run(
        suite_run(tmp_path / "r", "clip8", CLIP8[:3], ENTRIES, items=20, experiment="table4")
    )

    means, *by_task = gap_tables(run, Gaps(run, 100), "official")
    assert not means.has_paper
    assert any(table.has_paper for table in by_task)


def test_a_task_may_be_called_as_a_group(tmp_path: Path) -> None:
    tasks = [FakeTask("seen", "Seen things", True), FakeTask("unseen", "Others", False)]
    run = open_run(suite_run(tmp_path / "r", "theirs", tasks, ENTRIES, items=20))

    means, individual, mtl, _ = gap_tables(run, Gaps(run, 100), "official")
    assert [head.title for head in means.heads] == [
        "Seen − individual",
        "Seen − MTL",
        "Unseen − MTL",
        "Seen, % of individual",
    ]
    assert [head.title for head in mtl.heads] == ["Seen things", "Others"]
    assert [head.title for head in individual.heads] == ["Seen things"]
