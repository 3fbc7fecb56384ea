"""Verdicts: differences that are there are found, others are not called differences."""

from pathlib import Path

import numpy as np
import pytest
from fake_runs import make_run

from copamerge.bench.entries import Entry, merge_entry
from copamerge.bench.statistics import Comparison
from copamerge.errors import SuiteError
from copamerge.reports import Run, open_run
from copamerge.reports.verdicts import Verdict, against, best, holm


def verdict(difference: float, low: float, high: float, p: float, corrected: float) -> Verdict:
    word = "difference" if (low > 0 or high < 0) and p <= 0.05 else "no difference shown"
    comparison = Comparison(difference, low, high, p, word)  # type: ignore[arg-type]
    return Verdict("a", "b", "seen", comparison, corrected)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (verdict(3.06, 1.2, 4.9, 0.001, 0.01), "better by 3.1 [1.2, 4.9]"),
        (verdict(-3.06, -4.9, -1.2, 0.001, 0.01), "worse by 3.1 [1.2, 4.9]"),
        (verdict(0.4, -1.2, 1.9, 0.6, 1.0), "no difference shown (+0.4 [-1.2, +1.9])"),
        # Alone it would have been a difference; among many it is not.
        (verdict(2.0, 0.1, 3.9, 0.04, 0.4), "no difference shown (+2.0 [+0.1, +3.9])"),
    ],
)
def test_verdicts_in_words(made: Verdict, text: str) -> None:
    assert made.text == text


def test_holms_correction() -> None:
    # By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1 is below the one before it.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_large_difference_is_found_and_a_twin_is_none(tmp_path: Path) -> None:
    entries = [
        merge_entry("copa"),
        merge_entry("task_arithmetic", name="worse"),
        Entry("zero-shot", "zero-shot", "Twin"),
    ]
    path = make_run(
        tmp_path / "r", entries, items=100, skill=lambda e, seen: 0.3 if e.name == "worse" else 0.6
    )
    for file in (path / "scores" / "copa").iterdir():
        (path / "scores" / "zero-shot" / file.name).write_bytes(file.read_bytes())

    found = against(open_run(path), "copa", ["copa", "worse", "zero-shot"], resamples=400)

    assert found.of("copa", "seen") is None
    for group in ("seen", "unseen"):
        worse, twin = found.of("worse", group), found.of("zero-shot", group)
        assert worse is not None and worse.word == "worse"
        assert twin is not None and twin.word == "no difference shown"
        assert twin.comparison.difference == 0.0


def test_chance_is_rarely_called_a_difference(tmp_path: Path) -> None:
    # Twenty models that differ by luck alone: corrected, one false alarm in twenty such runs.
    entries = [merge_entry("copa", name=f"copa-{i}") for i in range(21)]
    path = make_run(tmp_path / "r", entries, items=40, skill=lambda entry, seen: 0.5)

    run = open_run(path)
    found = against(run, "copa-0", [entry.name for entry in entries], resamples=300)

    assert sum(v.word != "no difference shown" for v in found.found) <= 2


def test_models_that_were_asked_other_tasks_are_not_compared(table2: Run) -> None:
    found = against(table2, "copa", ["individual"], resamples=100)

    assert found.of("individual", "seen") is not None
    assert found.of("individual", "unseen") is None


def test_the_same_run_gives_the_same_verdicts(table2: Run) -> None:
    one, two = (against(table2, "copa", ["ties", "dare"], resamples=100) for _ in range(2))

    assert one == two


def test_unlike_items_are_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "r", [merge_entry("copa"), merge_entry("ties")], items=20)
    np.savez(path / "scores" / "ties" / "vqa.npz", official=np.zeros((19, 1)))

    with pytest.raises(SuiteError, match=r"has shape \(19, 1\)"):
        against(open_run(path), "copa", ["ties"], resamples=100)


def test_the_best_has_the_highest_mean_over_all_tasks(table2: Run) -> None:
    assert best(table2, ["ties", "copa", "mean"]) == "copa"
    assert best(table2, ["individual", "mean"], "unseen") == "mean"
    assert best(table2, []) is None
