import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.metrics import METRICS, MODES

METRIC = METRICS["top1"]
LAWS = settings(max_examples=80, deadline=None, derandomize=True, database=None)

LABELS = ["cat", "Cat", "dog", "tiger shark", "bird", "annual crop land", "7"]
RANKED = st.permutations(LABELS)
ITEMS = st.lists(
    st.tuples(RANKED, st.integers(1, 7), st.sampled_from(LABELS)), min_size=1, max_size=12
)


def columns(items):
    return ["\n".join(ranked[:n]) for ranked, n, _ in items], [[label] for *_, label in items]


@pytest.mark.parametrize(
    "answer, right, among_five",
    [
        ("cat", 1, 1),
        ("cat\n", 1, 1),
        ("cat\ndog", 1, 1),
        ("dog\ncat", 0, 1),
        ("a\nb\nc\nd\ncat", 0, 1),
        ("a\nb\nc\nd\ne\ncat", 0, 0),
        ("Cat", 0, 0),  # to the last capital ...
        ("cat ", 0, 0),  # ... and blank
        ("cats", 0, 0),
        ("a cat", 0, 0),
        ("cat\r\ndog", 0, 0),
        ("\ncat", 0, 1),
        ("no such label", 0, 0),
        ("", 0, 0),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_labels(answer, right, among_five, mode):
    (row,) = METRIC.statistics([answer], [["cat"]], mode)

    assert row[:2].tolist() == [right, among_five]
    assert METRIC.points([answer], [["cat"]], mode) == 100 * right
    assert METRIC.unreadable([answer], [["cat"]], mode).tolist() == [answer in ("", "\ncat")]


@LAWS
@given(ITEMS, st.sampled_from(MODES))
def test_both_numbers_are_those_counted_by_hand(items, mode):
    answers, references = columns(items)
    first = five = 0
    for ranked, n, label in items:
        first += ranked[0] == label
        place = ranked.index(label)
        five += place < min(n, 5)
    enough = min(n for _, n, _ in items) >= 5

    mean = METRIC.statistics(answers, references, mode).mean(axis=0)

    assert METRIC.combine(mean) == pytest.approx(100 * first / len(items))
    expected = {"top-5 accuracy": 100 * five / len(items)} if enough else {}
    assert METRIC.parts(mean) == pytest.approx(expected)


@LAWS
@given(ITEMS, ITEMS)
def test_points_of_two_sets_are_their_weighted_mean(some, others):
    n, m = len(some), len(others)

    together = METRIC.points(*columns(some + others), "official")

    mean = (
        n * METRIC.points(*columns(some), "official")
        + m * METRIC.points(*columns(others), "official")
    ) / (n + m)
    assert together == pytest.approx(mean)


def test_five_labels_of_each_item_are_needed_for_top_5():
    five = "a\nb\nc\nd\ncat"
    long, short = [five] * 3, [five, five, "cat\na\nb\nc"]

    whole, lacking = (
        METRIC.statistics(answers, [["cat"]] * 3, "official").mean(axis=0)
        for answers in (long, short)
    )

    assert METRIC.parts(whole) == {"top-5 accuracy": 100}
    assert METRIC.parts(lacking) == {}


def test_what_was_never_asked_does_not_hide_the_others_top_5():
    answers = ["cat\na\nb\nc\nd", METRIC.wrong(["cat"])]

    mean = METRIC.statistics(answers, [["cat"]] * 2, "official").mean(axis=0)

    assert METRIC.combine(mean) == 50
    assert METRIC.parts(mean) == {"top-5 accuracy": 50}


def test_many_resamples_are_combined_at_once():
    rows = METRIC.statistics(["cat", "dog"], [["cat"], ["cat"]], "official")

    together = METRIC.combine(np.stack([rows[[0, 0]].mean(axis=0), rows.mean(axis=0)]))

    assert together.tolist() == [100, 50]
