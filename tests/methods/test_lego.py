"""LoRA-LEGO: k-means against exhaustive search, the result against plain NumPy."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.methods import Law
from copamerge.methods.lego import Lego, k_means, mixing
from copamerge.testing import check_method
from strategies import CASES, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def points_of(m, d, seed=0):
    return torch.randn(m, d, generator=stream(seed), dtype=torch.float64)


# --- k-means -------------------------------------------------------------------------------------


@cache
def partitions(m, k):
    """Every way to put m things into exactly k groups, as labels."""
    if m == 0:
        return [()] if k == 0 else []
    found = [(*rest, label) for rest in partitions(m - 1, k) for label in range(k)]
    return found + [(*rest, k - 1) for rest in partitions(m - 1, k - 1)] if k else found


def spread(points, labels):
    """Sum of squared distances to the means of the groups."""
    labels = np.array(labels)
    groups = (points[labels == label] for label in set(labels))
    return sum(((group - group.mean(0)) ** 2).sum() for group in groups)


def groups(labels):
    return {frozenset(np.flatnonzero(np.array(labels) == label)) for label in set(labels)}


def test_all_partitions_are_listed():
    # Stirling numbers of the second kind.
    assert [len(partitions(7, k)) for k in (1, 2, 3, 4)] == [1, 63, 301, 350]
    assert len(set(map(frozenset, map(groups, partitions(7, 3))))) == 301


@pytest.mark.parametrize("m, k", [(6, 2), (7, 3), (8, 4), (7, 6), (5, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_the_clustering_is_the_best_there_is(m, k, seed):
    points = points_of(m, 3, seed)
    best = min(partitions(m, k), key=lambda labels: spread(points.numpy(), labels))

    found = k_means(points, k, 30, stream(seed))

    assert groups(found.labels.tolist()) == groups(best)
    assert found.cost == pytest.approx(spread(points.numpy(), best), abs=1e-12)


@pytest.mark.parametrize("m, k", [(6, 2), (7, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_without_signs_it_is_the_best_over_all_signs(m, k, seed):
    points = points_of(m, 3, seed)
    # The first of each group keeps its sign without loss; here all signs are simply tried.
    signs = np.array(np.meshgrid(*[[1, -1]] * (m - 1))).reshape(m - 1, -1).T
    turned = [points.numpy() * np.array([1, *s])[:, None] for s in signs]
    best = min(spread(x, labels) for x in turned for labels in partitions(m, k))

    found = k_means(points, k, 30, stream(seed), unsigned=True)

    assert found.cost == pytest.approx(best, abs=1e-12)
    assert spread((found.signs[:, None] * points).numpy(), found.labels.tolist()) == pytest.approx(
        best, abs=1e-12
    )


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_every_point_is_in_the_cluster_of_the_nearest_mean(unsigned, seed):
    """What no round of Lloyd's algorithm would change, from a single start."""
    points = points_of(60, 8, seed)

    found = k_means(points, 7, 1, stream(seed), unsigned=unsigned)

    means = mixing(found) @ points
    turned = found.signs[:, None] * points
    to_means = ((turned[:, None] - means) ** 2).sum(2)
    other = ((turned[:, None] + means) ** 2).sum(2)
    nearest = torch.minimum(to_means, other) if unsigned else to_means
    own = to_means[torch.arange(60), found.labels]
    torch.testing.assert_close(own, nearest.min(1).values, rtol=0, atol=1e-12)
    for label in range(len(means)):
        torch.testing.assert_close(means[label], turned[found.labels == label].mean(0))
    assert found.cost == pytest.approx(float(own.sum()))
    assert unsigned or (found.signs == 1).all()


@pytest.mark.parametrize("unsigned", [False, True])
def test_planted_clusters_are_found(unsigned):
    """Eight tight groups of unlike sizes, far apart."""
    planted = torch.arange(8).repeat_interleave(torch.arange(3, 11))
    centres = 10 * torch.eye(8, 12, dtype=torch.float64)
    points = centres[planted] + 0.1 * points_of(len(planted), 12)
    if unsigned:
        points *= torch.randn(len(points), 1, generator=stream(1)).sign().double()

    found = k_means(points, 8, 10, stream(), unsigned=unsigned)

    assert groups(found.labels.tolist()) == groups(planted.tolist())


def test_no_more_clusters_than_different_points():
    points = points_of(3, 4)[[0, 1, 0, 2, 1, 0]]

    found = k_means(points, 5, 3, stream())

    assert groups(found.labels.tolist()) == {
        frozenset({0, 2, 5}),
        frozenset({1, 4}),
        frozenset({3}),
    }
    assert found.cost == 0


def test_the_same_stream_draws_the_same():
    points = points_of(40, 5)

    one, other = (k_means(points, 6, 2, stream(3)) for _ in range(2))

    assert torch.equal(one.labels, other.labels)


# --- the method ----------------------------------------------------------------------------------


def units_of(stack):
    """Rows [a ; w b] of every adapter."""
    return np.concatenate([np.hstack([A, w * B.T]) for A, B, w, _ in plain(stack)])


def oracle(units, d_in, labels, signs=None):
    """Steps of methods.md 2.15 for a given clustering."""
    labels, total = np.array(labels), 0
    k = len(set(labels))
    for label in set(labels):
        members = units[labels == label]
        if signs is not None:
            members = members * np.array(signs)[labels == label][:, None]
        mean = members.mean(0)
        mean = mean * np.abs(members).max(1).mean() / np.abs(mean).max()
        total = total + np.sqrt(len(units) / k) * np.outer(mean[d_in:], mean[:d_in])
    return total


@pytest.mark.parametrize("ranks, k", [((3, 3), None), ((3, 1, 2), None), ((2, 2, 2), 4)])
@pytest.mark.parametrize("weights", [None, (2.0, -0.5, 0.3)])
def test_it_is_the_formula_on_the_best_clustering(ranks, k, weights):
    stack = random_stack(ranks, weights=weights and weights[: len(ranks)])
    units = units_of(stack)
    k = k or max(ranks)
    best = min(partitions(len(units), k), key=lambda labels: spread(units, labels))

    merged = Lego(clusters=k, restarts=30).merge(stack, DRAWS)

    assert_equal(as_array(merged), oracle(units, 9, best))
    assert merged.rank == k


def test_float64_in_float64_out():
    stack = random_stack((3, 3))
    double = replace(stack, A=stack.A.double(), B=stack.B.double())
    units = units_of(stack)
    best = min(partitions(6, 3), key=lambda labels: spread(units, labels))

    merged = Lego(restarts=30).merge(double, DRAWS)

    assert merged.A.dtype == merged.B.dtype == torch.float64
    np.testing.assert_allclose(as_array(merged), oracle(units, 9, best), atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_as_many_clusters_as_units_give_the_sum(name):
    stack = CASES[name]

    merged = Lego(clusters=100).merge(stack, DRAWS)

    assert merged.rank == sum(stack.ranks)
    assert_equal(as_array(merged), sum(w * B @ A for A, B, w, _ in plain(stack)))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("align_signs", [False, True])
def test_every_case_is_merged_at_the_announced_rank(name, align_signs):
    stack = CASES[name]
    method = Lego(align_signs=align_signs)

    merged = method.merge(stack, DRAWS)

    assert merged.rank == method.result_rank(stack.ranks) == max(stack.ranks)
    assert np.isfinite(as_array(merged)).all()


def test_copies_of_one_adapter_give_it_times_the_root_of_their_number():
    """Means are the units themselves, R / k = n, and n = 3."""
    stack = CASES["copies"]
    A, B, _, _ = plain(stack)[0]

    assert_equal(as_array(Lego().merge(stack, DRAWS)), 3**0.5 * B @ A)


def test_a_unit_turned_around_is_the_same_brick_if_asked_for():
    stack = CASES["copies"]
    turned = replace(stack, A=stack.A.clone(), B=stack.B.clone())
    turned.A[1, 0], turned.B[1, :, 0] = -turned.A[1, 0], -turned.B[1, :, 0]
    turned.A[2], turned.B[2] = -turned.A[2], -turned.B[2]
    A, B, _, _ = plain(stack)[0]

    aligned = as_array(Lego(align_signs=True).merge(turned, DRAWS))

    assert_equal(aligned, 3**0.5 * B @ A)
    apart = as_array(Lego().merge(turned, DRAWS))
    assert np.linalg.norm(apart - aligned) > 0.1 * np.linalg.norm(aligned)


def test_units_that_cancel_give_nothing_rather_than_their_rounding():
    stack = random_stack((1, 1, 1, 1), bias=False)
    stack.A[1], stack.B[1] = -stack.A[0], -stack.B[0]
    stack.A[3], stack.B[3] = -stack.A[2], -stack.B[2]

    merged = Lego(clusters=1).merge(stack, DRAWS)

    assert not as_array(merged).any()


def test_planted_bricks_come_back():
    """Adapters that share bricks, each in an order of its own and slightly off."""
    rng = stream(2)
    rows, columns = torch.randn(4, 30, generator=rng), torch.randn(24, 4, generator=rng)
    stack = random_stack((4, 4, 4), d_in=30, d_out=24, bias=False)
    for i, order in enumerate([[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]]):
        stack.A[i] = rows[order] + 1e-3 * torch.randn(4, 30, generator=rng)
        stack.B[i] = columns[:, order] + 1e-3 * torch.randn(24, 4, generator=rng)

    merged = as_array(Lego().merge(stack, DRAWS))

    assert_equal(merged, 3**0.5 * (columns @ rows).double().numpy(), 5e-3)


@pytest.mark.parametrize("factor", ["A", "B"])
def test_units_that_add_nothing_do_not_count(factor):
    """A row of A or a column of B that is zero, and an adapter of such: as if they were absent."""
    stack = random_stack((3, 3, 4))
    (stack.A[0] if factor == "A" else stack.B[0].mT)[1] = 0
    getattr(stack, factor)[2] = 0
    left = np.delete(units_of(stack), [1, 6, 7, 8, 9], axis=0)
    best = min(partitions(5, 3), key=lambda labels: spread(left, labels))

    merged = Lego(restarts=30).merge(stack, DRAWS)

    assert merged.rank == 4
    assert_equal(as_array(merged), oracle(left, 9, best))


def test_factors_that_cancel_make_an_adapter_of_zero():
    stack = random_stack((2, 2), bias=False)
    stack.A[0, 1], stack.B[0, :, 1] = stack.A[0, 0], -stack.B[0, :, 0]

    assert_equal(as_array(Lego().merge(stack, DRAWS)), stack.deltas()[1].double().numpy(), 1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_order_does_not_matter_even_to_a_poor_clustering(seed):
    """One start on many units, where seeds do find different clusters."""
    stack = random_stack((8, 8, 8, 8), d_in=30, d_out=24, bias=False)
    order = [2, 0, 3, 1]
    moved = replace(
        stack, A=stack.A[order].flip(1), B=stack.B[order].flip(2), keys=("d", "c", "b", "a")
    )
    method, draws = Lego(restarts=1), Draws(seed, "layer")

    merged = as_array(method.merge(stack, draws))

    assert_equal(as_array(method.merge(moved, draws)), merged)
    other = as_array(method.merge(stack, Draws(seed + 100, "layer")))
    assert np.linalg.norm(other - merged) > 0.01 * np.linalg.norm(merged)


def test_a_bias_is_summed():
    stack = CASES["unlike ranks"]

    assert_equal(Lego().merge_bias(stack, DRAWS), sum(w * b for _, _, w, b in plain(stack)))


def test_only_zeros_stay_zero():
    stack = random_stack((2, 3))
    stack.B.zero_()

    merged = Lego().merge(stack, DRAWS)

    assert merged.rank == 3 and not merged.A.any() and not merged.B.any()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clusters": 2},
        {"clusters": 1},
        {"align_signs": True},
        {"clusters": 3, "restarts": 2, "align_signs": True},
    ],
    ids=str,
)
def test_it_keeps_its_promises(options):
    check_method(Lego(**options))


def test_only_enough_clusters_keep_a_single_adapter():
    assert Law.IDENTITY in Lego().promises()
    assert Law.IDENTITY not in Lego(clusters=8).promises()
    assert not Lego(clusters=1).seeded()
