import random
from itertools import product
from math import sqrt
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copamerge.bench.statistics import (
    LEVEL,
    Paired,
    mean_difference,
    mean_standard_error,
    paired_bootstrap,
    standard_error,
)
from copamerge.errors import CopamergeError

LAWS = settings(max_examples=40, deadline=None, derandomize=True, database=None)
BITS = st.lists(st.booleans(), min_size=2, max_size=30)


def percent(mean):
    return np.asarray(100.0 * mean[..., 0])


def ratio(mean):
    """A score that is no mean over items, as precision or BLEU are."""
    return np.asarray(100.0 * mean[..., 0] / mean[..., 1])


def column(values):
    return np.array([[float(value)] for value in values])


def two_systems(n, seed, gap=0.0, shared=0.6):
    """Right or wrong on n items: `shared` of them decided by the item alone; b ahead by `gap`."""
    rng = np.random.default_rng(seed)
    easy = rng.random(n) < 0.5
    by_item = rng.random(n) < shared
    a = np.where(by_item, easy, rng.random(n) < 0.5)
    b = np.where(by_item, easy, rng.random(n) < 0.5 + gap)
    return column(a), column(b)


# --- standard errors ---------------------------------------------------------------------------


def test_the_standard_error_of_an_accuracy_is_the_textbook_one():
    bits = [1, 0, 0, 1, 1, 1, 0, 1]

    error = standard_error(column(bits), percent)

    assert error == pytest.approx(100 * stdev(bits) / sqrt(8))


def test_the_bootstrap_error_is_that_of_all_resamples():
    # Four items have 4 ** 4 resamples: all of them, one by one.
    rows = np.array([[1.0, 2.0], [0.0, 3.0], [2.0, 2.0], [1.0, 5.0]])
    scores = [ratio(rows[list(drawn)].mean(axis=0)) for drawn in product(range(4), repeat=4)]

    error = standard_error(rows, ratio, resamples=20_000, seed=3)

    assert error == pytest.approx(np.std(scores), rel=0.02)


def test_the_bootstrap_error_of_a_mean_is_the_analytic_one():
    values = np.random.default_rng(0).random((200, 1))
    widened = np.hstack([values, np.ones_like(values)])

    error = standard_error(widened, ratio, resamples=4000)

    assert error == pytest.approx(standard_error(values, percent), rel=0.05)


def test_the_error_of_a_mean_of_tasks():
    assert mean_standard_error([3.0, 4.0]) == 2.5
    assert mean_standard_error([0.0]) == 0.0
    with pytest.raises(CopamergeError, match="no tasks"):
        mean_standard_error([])


def test_the_error_of_a_mean_of_tasks_is_what_resampling_them_gives():
    tasks = [column(np.random.default_rng(i).random(50) < 0.3) for i in range(3)]
    rng = random.Random(5)

    means = [
        mean(float(percent(np.mean(rng.choices(task, k=50), axis=0))) for task in tasks)
        for _ in range(2000)
    ]

    expected = mean_standard_error([standard_error(task, percent) for task in tasks])
    assert stdev(means) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_variance_there_is_no_error(value):
    assert standard_error(np.full((5, 1), value), percent) == 0.0
    assert standard_error(np.full((5, 2), 1.0), ratio) == 0.0


# --- comparisons -------------------------------------------------------------------------------


def bootstrap_in_a_loop(tasks, resamples, seed, *, paired=True):
    """The interval, one draw at a time. `paired=False` is the mutant that draws b on its own."""
    rng = random.Random(seed)
    drawn = []
    for _ in range(resamples):
        differences = []
        for a, b, combine in tasks:
            at = rng.choices(range(len(a)), k=len(a))
            bt = at if paired else rng.choices(range(len(a)), k=len(a))
            score_a = combine(sum(a[i] for i in at) / len(a))
            score_b = combine(sum(b[i] for i in bt) / len(b))
            differences.append(float(score_a - score_b))
        drawn.append(mean(differences))
    return np.quantile(drawn, [0.025, 0.975])


def example_tasks():
    a, b = two_systems(60, seed=1, gap=0.4)
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 9, size=(40, 2)).astype(float)
    return [
        Paired(b, a, percent),
        Paired(counts + rng.integers(0, 2, size=(40, 2)), counts, ratio),
    ]


def test_the_interval_is_that_of_a_plain_loop():
    tasks = example_tasks()

    got = mean_difference(tasks, resamples=4000, seed=0)

    low, high = bootstrap_in_a_loop(tasks, 2000, seed=0)
    width = high - low
    assert got.low == pytest.approx(low, abs=0.05 * width)
    assert got.high == pytest.approx(high, abs=0.05 * width)
    assert got.difference == pytest.approx(
        mean(float(c(a.mean(axis=0)) - c(b.mean(axis=0))) for a, b, c in tasks)
    )


def test_the_same_comparison_would_catch_unpaired_draws():
    tasks = example_tasks()

    got = mean_difference(tasks, resamples=4000, seed=0)

    low, high = bootstrap_in_a_loop(tasks, 2000, seed=0, paired=False)
    assert high - low > 1.2 * (got.high - got.low)


def test_pairing_narrows_the_interval():
    a, b = two_systems(400, seed=0, shared=0.9)
    shuffled = np.random.default_rng(1).permutation(b)

    paired = paired_bootstrap(a, b, percent)
    unpaired = paired_bootstrap(a, shuffled, percent)

    assert paired.difference == unpaired.difference
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_the_p_value_is_that_of_all_swaps():
    a = np.array([[1.0, 2.0], [0.0, 3.0], [2.0, 2.0], [1.0, 5.0], [3.0, 4.0]])
    b = np.array([[0.0, 2.0], [1.0, 4.0], [0.0, 2.0], [1.0, 6.0], [1.0, 5.0]])
    swaps = []
    for swap in product([0, 1], repeat=5):
        x = np.where(np.array(swap)[:, None], b, a).mean(axis=0)
        y = np.where(np.array(swap)[:, None], a, b).mean(axis=0)
        swaps.append(abs(ratio(x) - ratio(y)))

    got = paired_bootstrap(a, b, ratio, resamples=20_000)

    assert got.p_value == pytest.approx(np.mean(np.array(swaps) >= swaps[0] - 1e-9), abs=0.01)


@LAWS
@given(BITS, st.integers(0, 1000))
def test_identical_systems_never_differ(bits, seed):
    got = paired_bootstrap(column(bits), column(bits), percent, resamples=100, seed=seed)

    assert got == (0.0, 0.0, 0.0, 1.0, "no difference shown")


@LAWS
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_the_other_way_round_is_the_same_comparison(pairs):
    a, b = (column(bits) for bits in zip(*pairs, strict=True))

    one, other = (paired_bootstrap(*ab, percent, resamples=200) for ab in [(a, b), (b, a)])

    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.verdict == other.verdict


@LAWS
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30), st.integers(0))
def test_the_same_seed_gives_the_same_numbers(pairs, seed):
    a, b = (column(bits) for bits in zip(*pairs, strict=True))

    assert paired_bootstrap(a, b, percent, resamples=100, seed=seed) == paired_bootstrap(
        a.copy(), b.copy(), percent, resamples=100, seed=seed
    )


def test_memory_is_bounded_and_parts_change_nothing(monkeypatch):
    tasks = example_tasks()
    whole = mean_difference(tasks, seed=4), standard_error(tasks[1].a, ratio, seed=4)

    monkeypatch.setattr("copamerge.bench.statistics._CHUNK", 1000)

    parts = mean_difference(tasks, seed=4), standard_error(tasks[1].a, ratio, seed=4)
    assert parts[0][:4] == pytest.approx(whole[0][:4], rel=1e-12)
    assert parts[1] == pytest.approx(whole[1], rel=1e-12)


def test_tasks_are_resampled_apart():
    # The same items twice: drawn apart, the mean of both varies less by sqrt(2) than one alone.
    a, b = two_systems(300, seed=3, gap=0.2)

    one = paired_bootstrap(a, b, percent, resamples=4000)
    two = mean_difference([Paired(a, b, percent)] * 2, resamples=4000)

    assert two.difference == pytest.approx(one.difference)
    assert (one.high - one.low) / (two.high - two.low) == pytest.approx(sqrt(2), rel=0.06)


def test_tasks_of_unlike_size_count_the_same():
    small, large = column([1, 1, 1, 0]), column([0] * 400)

    got = mean_difference(
        [Paired(small, 1 - small, percent), Paired(large, large, percent)], resamples=200
    )

    assert got.difference == 25.0


def coverage(n, trials, **systems):
    """How often the interval holds the true difference, and how often `difference` is said."""
    truth = -100 * systems.get("gap", 0.0) * (1 - systems.get("shared", 0.6))
    held = said = 0
    for trial in range(trials):
        a, b = two_systems(n, seed=trial, **systems)
        got = paired_bootstrap(a, b, percent, resamples=400, seed=trial)
        held += got.low - 1e-9 <= truth <= got.high + 1e-9
        said += got.verdict == "difference"
    return held / trials, said / trials


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
    held, said = coverage(100, trials=400, gap=0.3)

    # Two standard errors of a share of 0.95 in 400 trials are 0.022.
    assert 0.92 <= held <= 0.98
    assert said > 0.3


def test_equal_systems_are_told_apart_once_in_twenty_at_most():
    held, said = coverage(100, trials=400)

    assert 0.92 <= held <= 0.98
    assert said <= LEVEL + 0.02


def test_few_unlike_answers_are_luck_though_the_interval_leaves_out_nothing():
    # Four of 1000 answers differ, all in favour of a: a coin does that in 1 of 8 tries.
    a, b = column([1] * 4 + [0] * 996), column([0] * 1000)

    got = paired_bootstrap(a, b, percent)

    assert got.low > 0
    assert got.p_value == pytest.approx(1 / 8, abs=0.02)
    assert got.verdict == "no difference shown"


def test_the_interval_alone_would_tell_nearly_equal_systems_apart_too_often():
    # Two equal systems with four unlike answers of 100: all ways in which these can fall.
    said = by_interval = 0
    for wins in product([0, 1], repeat=4):
        a = column([*wins, *[0] * 96])
        b = column([*(1 - win for win in wins), *[0] * 96])
        got = paired_bootstrap(a, b, percent)
        said += got.verdict == "difference"
        by_interval += got.low > 0 or got.high < 0

    assert said == 0
    assert by_interval / 16 > 2 * LEVEL


def test_a_large_difference_is_shown():
    a, b = column([1] * 20), column([0] * 20)

    assert paired_bootstrap(a, b, percent)[:3] == (100.0, 100.0, 100.0)
    assert paired_bootstrap(a, b, percent).verdict == "difference"


# --- what is refused ---------------------------------------------------------------------------


def test_what_cannot_be_compared_is_refused():
    good, nan = column([1, 0]), column([1, np.nan])

    with pytest.raises(CopamergeError, match="do not have the same items"):
        mean_difference([Paired(good, column([1, 0, 1]), percent)])
    with pytest.raises(CopamergeError, match="no tasks"):
        mean_difference([])
    with pytest.raises(CopamergeError, match="resamples=10"):
        paired_bootstrap(good, good, percent, resamples=10)
    with pytest.raises(CopamergeError, match="two of them at least"):
        standard_error(column([1]), percent)
    with pytest.raises(CopamergeError, match="not finite"):
        standard_error(nan, percent)
    with pytest.raises(CopamergeError) as told:
        mean_difference([Paired(good, nan, percent), Paired(column([1]), column([1]), percent)])
    assert len(told.value.problems) == 2
