"""How sure a score, or the difference of two, is: given that other items could have been asked.

Resampling is over items, of a whole task: `statistics` are a metric's numbers per item and
`combine` makes points of their mean (`copamerge.bench.metrics`). The adapters, the training seed
and the choice of tasks count as given, so nothing here speaks of other seeds or other tasks.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, UInt8

from copamerge.errors import CopamergeError

Combine = Callable[[Float64[np.ndarray, "*many k"]], Float64[np.ndarray, "*many"]]
Verdict = Literal["difference", "no difference shown"]

LEVEL = 0.05
"""One minus the coverage of the interval, and the level of the test."""

_CHUNK = 4_000_000
"""Random numbers held at once: 32 MB, whatever the number of items."""


class Paired(NamedTuple):
    """What two systems did on the same items of one task, row by row."""

    a: Float64[np.ndarray, "items k"]
    b: Float64[np.ndarray, "items k"]
    combine: Combine


class Comparison(NamedTuple):
    """Points of a minus points of b, and how far that goes beyond the luck of the items."""

    difference: float
    low: float
    high: float
    """The 95 % percentile interval of the difference."""
    p_value: float
    """How often a difference as large arises when each item's two answers swap at random."""
    verdict: Verdict
    """`difference` if the interval leaves out 0 and p_value is at most 0.05."""


def standard_error(
    statistics: Float64[np.ndarray, "items k"],
    combine: Combine,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> float:
    """Standard deviation of the score over sets of as many items, in points; 0 or more.

    With one number per item the score has to be linear in its mean, as accuracy is: then it is
    sd / sqrt(n), with n - 1 in sd, and nothing is drawn. Otherwise the bootstrap's
    (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, algorithm 6.1).

    Raises:
        CopamergeError: fewer than two items, a number that is not finite, too few resamples.
    """
    _check("statistics", statistics)
    n, k = statistics.shape
    if k == 1:
        return float(combine(statistics).std(ddof=1)) / sqrt(n)
    _check_resamples(resamples)
    rng = np.random.default_rng(seed)
    means = np.concatenate([w @ statistics / n for w in _weights(n, resamples, rng)])
    return float(combine(means).std(ddof=1))


def mean_standard_error(errors: Sequence[float]) -> float:
    """The standard error of the mean of scores of tasks that share no items, from theirs.

    `sqrt(sum of squares) / number of tasks`: the tasks are given, only their items are drawn.

    Raises:
        CopamergeError: no tasks.
    """
    if not errors:
        raise CopamergeError("no tasks: the mean over nothing has no standard error")
    return sqrt(sum(error**2 for error in errors)) / len(errors)


def resampled_points(
    statistics: Float64[np.ndarray, "items k"],
    combine: Combine,
    *,
    stream: int = 0,
    resamples: int = 2000,
    seed: int = 0,
) -> Float64[np.ndarray, " resamples"]:
    """The points on each resample of the items, drawn with replacement.

    The same seed, stream and number of items draw the same items: differences and ratios of two
    systems are then paired, item by item, and their standard deviation is the bootstrap's
    standard error of the difference or ratio (Efron & Tibshirani 1993, chapters 6 and 8). Tasks
    that share no items have each a `stream` of their own.

    Raises:
        CopamergeError: fewer than two items, a number that is not finite, too few resamples.
    """
    _check("statistics", statistics)
    _check_resamples(resamples)
    n = len(statistics)
    parts = (part.astype(np.float64) for part in _weights_of(seed, 2 * stream, n, resamples))
    return np.concatenate([np.asarray(combine(w @ statistics / n)) for w in parts])


def paired_bootstrap(
    a: Float64[np.ndarray, "items k"],
    b: Float64[np.ndarray, "items k"],
    combine: Combine,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the items of one task; row i of both is the same item.

    See `mean_difference`, of which this is the case of one task.
    """
    return mean_difference([Paired(a, b, combine)], resamples=resamples, seed=seed)


def mean_difference(tasks: Sequence[Paired], *, resamples: int = 2000, seed: int = 0) -> Comparison:
    """Compare two systems by the mean of their scores over tasks, each task counting the same.

    Interval: items are drawn with replacement within each task on its own, the same for both
    systems, so that what makes an item hard for both cancels out (Efron & Tibshirani 1993,
    chapter 13; paired, for a corpus metric: Koehn, EMNLP 2004, section 4).

    Test: the interval alone finds differences too easily where few answers differ (4 unlike
    answers of 1000, all in favour of a, leave out 0 in 98 % of the resamples; a coin does that
    in 1 of 8 tries). So the verdict also asks for a randomisation test, which is exact there: p is
    `(1 + differences at least as large) / (1 + resamples)` with the two answers of each item
    swapped or not by a coin (Riezler & Maxwell, 2005; Phipson & Smyth, 2010, for the 1s).

    `no difference shown` is not `shown to be equal`: look at the interval. One comparison is
    judged here; who makes many finds one difference in twenty by luck.

    The same seed gives the same numbers. Systems that agree on every item give 0 throughout.

    Raises:
        CopamergeError: no tasks, unlike shapes, fewer than two items in a task, a number that is
            not finite, too few resamples; lists all problems of the tasks.
    """
    _check_resamples(resamples)
    _check_tasks(tasks)
    pairs = [_difference(task.a.mean(axis=0), task.b.mean(axis=0), task.combine) for task in tasks]
    drawn, swapped = np.zeros(resamples), np.zeros(resamples)
    for i, task in enumerate(tasks):
        drawn += _resampled(task, _weights_of(seed, 2 * i, len(task.a), resamples)) / len(tasks)
        swapped += _swapped(task, _coins_of(seed, 2 * i + 1, len(task.a), resamples)) / len(tasks)
    difference = float(np.mean(pairs))
    low, high = (float(x) for x in np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2]))
    # Equal differences that were summed in another order differ in the last bits.
    as_large = int((np.abs(swapped) >= abs(difference) - 1e-9).sum())
    p_value = (1 + as_large) / (1 + resamples)
    shown = (low > 0 or high < 0) and p_value <= LEVEL
    verdict: Verdict = "difference" if shown else "no difference shown"
    return Comparison(difference, low, high, p_value, verdict)


def _resampled(
    task: Paired, weights: Sequence[UInt8[np.ndarray, "_ n"]]
) -> Float64[np.ndarray, " resamples"]:
    """The difference on each resample of the items: one draw for both systems."""
    n = len(task.a)
    parts = (part.astype(np.float64) for part in weights)
    return np.concatenate(
        [_difference(w @ task.a / n, w @ task.b / n, task.combine) for w in parts]
    )


def _swapped(
    task: Paired, coins: Sequence[UInt8[np.ndarray, "_ n"]]
) -> Float64[np.ndarray, " resamples"]:
    """The difference when the two systems' answers to an item change places, or not, by a coin."""
    n = len(task.a)
    a, b, move = task.a.mean(axis=0), task.b.mean(axis=0), task.b - task.a
    moves = (part.astype(np.float64) @ move / n for part in coins)
    return np.concatenate([_difference(a + moved, b - moved, task.combine) for moved in moves])


# A report compares many systems on the same items: what is drawn for one is drawn for all. A byte
# a number: no item is drawn 256 times.
@lru_cache(maxsize=32)
def _weights_of(
    seed: int, stream: int, n: int, resamples: int
) -> tuple[UInt8[np.ndarray, "_ n"], ...]:
    rng = _stream(seed, stream)
    return tuple(w.astype(np.uint8) for w in _weights(n, resamples, rng))


@lru_cache(maxsize=32)
def _coins_of(
    seed: int, stream: int, n: int, resamples: int
) -> tuple[UInt8[np.ndarray, "_ n"], ...]:
    rng = _stream(seed, stream)
    return tuple(
        rng.integers(0, 2, size=(count, n)).astype(np.uint8) for count in _counts(n, resamples)
    )


def _stream(seed: int, stream: int) -> np.random.Generator:
    """Child `stream` of the seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


def _weights(
    n: int, resamples: int, rng: np.random.Generator
) -> Iterator[Float64[np.ndarray, "some n"]]:
    """How often each item is in each resample of n items; a row sums to n."""
    for count in _counts(n, resamples):
        yield rng.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)


def _counts(n: int, resamples: int) -> Iterator[int]:
    """The resamples, in parts that fit into memory."""
    part = max(1, _CHUNK // n)
    for start in range(0, resamples, part):
        yield min(part, resamples - start)


def _difference(
    a: Float64[np.ndarray, "*many k"], b: Float64[np.ndarray, "*many k"], combine: Combine
) -> Float64[np.ndarray, "*many"]:
    return np.asarray(combine(a) - combine(b))


def _check_tasks(tasks: Sequence[Paired]) -> None:
    if not tasks:
        raise CopamergeError("no tasks: there is nothing to compare")
    problems = []
    for i, task in enumerate(tasks):
        if task.a.shape != task.b.shape:
            problems.append(
                f"task {i}: systems a {task.a.shape} and b {task.b.shape} do not have the same "
                "items; compare answers to the same set"
            )
        else:
            problems += _problems(f"task {i}", task.a) or _problems(f"task {i}", task.b)
    if problems:
        raise CopamergeError(problems)


def _check(place: str, statistics: Float64[np.ndarray, "items k"]) -> None:
    if problems := _problems(place, statistics):
        raise CopamergeError(problems)


def _problems(place: str, statistics: Float[np.ndarray, "..."]) -> list[str]:
    if statistics.ndim != 2 or len(statistics) < 2:
        return [
            f"{place}: how much items vary needs two of them at least, one per row "
            f"(got shape {statistics.shape})"
        ]
    if not np.isfinite(statistics).all():
        return [f"{place}: a number is not finite"]
    return []


def _check_resamples(resamples: int) -> None:
    if resamples < 100:
        raise CopamergeError(
            f"resamples={resamples}: use 100 at least, 2000 for numbers that are reported"
        )
