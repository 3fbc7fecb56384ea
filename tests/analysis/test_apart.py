"""Distances, multiples and remainders against dense float64, and where they are small."""

import numpy as np
import pytest
import torch
from hypothesis import given

from copamerge.analysis.apart import (
    best_multiple,
    chance_of_cosine,
    pair_of,
    pair_of_values,
    relative_distance,
    remainder,
    same,
    together,
)
from copamerge.analysis.relations import cosine
from copamerge.core.delta import LowRank
from strategies import CASES, plain, random_stack, stack_arguments

EXACT = 1e-8


def deltas(stack):
    return [LowRank(torch.tensor(A), torch.tensor(B)) for A, B, _, _ in plain(stack)]


def dense(delta):
    return (delta.B.double() @ delta.A.double()).numpy()


def check(pair, a, b):
    """Every number of a pair against two arrays."""
    size_a, size_b = np.linalg.norm(a), np.linalg.norm(b)
    larger = max(size_a, size_b)
    assert pair.one == pytest.approx(size_a, rel=EXACT)
    assert pair.other == pytest.approx(size_b, rel=EXACT)
    if larger == 0:
        assert relative_distance(pair) is None
    else:
        wanted = np.linalg.norm(a - b) / larger
        assert relative_distance(pair) == pytest.approx(wanted, abs=EXACT)
        assert 0 <= relative_distance(pair) <= 2
    if size_a == 0 or size_b == 0:
        assert best_multiple(pair) is None and remainder(pair) is None
        assert chance_of_cosine(pair) is None
        return
    c = np.sum(a * b) / np.sum(b * b)
    assert best_multiple(pair) == pytest.approx(c, rel=EXACT, abs=EXACT)
    wanted = np.linalg.norm(a - c * b) / size_a
    assert remainder(pair) == pytest.approx(wanted, abs=EXACT)
    found = cosine(pair.inner, pair.one, pair.other)
    assert found == pytest.approx(np.sum(a * b) / size_a / size_b, abs=EXACT)


@given(stack_arguments())
def test_numbers_are_those_of_the_dense_matrices(arguments):
    some = deltas(random_stack(**{**arguments, "bias": True}))
    for one in some:
        for other in some:
            check(pair_of(one, other), dense(one), dense(other))


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_dense_matrices_in_odd_cases(name):
    one, other = (deltas(CASES[name]) * 2)[:2]

    check(pair_of(one, other), dense(one), dense(other))


def test_layers_together_are_one_vector_with_one_multiple():
    layers = [deltas(random_stack((3, 2), d_in=6 + i, d_out=9 - i, seed=i)) for i in range(4)]
    layers[1][1] = LowRank(layers[1][1].A, 0 * layers[1][1].B)

    found = together([pair_of(a, b) for a, b in layers])

    one, other = (np.concatenate([dense(x[i]).ravel() for x in layers]) for i in (0, 1))
    check(found, one, other)


def test_the_order_of_layers_changes_no_bit():
    pairs = [pair_of(*deltas(random_stack((3, 2), seed=i))) for i in range(9)]

    assert together(pairs) == together(pairs[::-1])


def test_distance_and_remainder_are_the_same_both_ways():
    one, other = deltas(random_stack((3, 4), d_in=20, d_out=15, seed=3))

    there, back = pair_of(one, other), pair_of(other, one)

    assert relative_distance(there) == pytest.approx(relative_distance(back), rel=1e-14)
    assert remainder(there) == pytest.approx(remainder(back), rel=1e-12)


def test_small_distances_keep_their_digits():
    (a,) = deltas(random_stack((4,), d_in=40, d_out=30, seed=5))
    _, noise = deltas(random_stack((4, 2), d_in=40, d_out=30, seed=6))
    near = LowRank(torch.cat([a.A, noise.A]), torch.cat([a.B, 1e-10 * noise.B], dim=1))
    wanted = 1e-10 * np.linalg.norm(dense(noise)) / np.linalg.norm(dense(near))

    # Squared norms of float64 would see nothing below 1e-8.
    found = pair_of(near, a)
    assert relative_distance(found) == pytest.approx(wanted, rel=1e-4)
    tripled = pair_of(LowRank(a.A, 3 * a.B), near)
    across = dense(noise) - dense(a) * np.sum(dense(noise) * dense(a)) / np.sum(dense(a) ** 2)
    assert remainder(tripled) == pytest.approx(
        1e-10 * np.linalg.norm(across) / np.linalg.norm(dense(a)), rel=1e-4
    )
    assert remainder(together([tripled, tripled])) == pytest.approx(remainder(tripled), rel=1e-4)


def test_other_factors_of_one_delta_are_no_distance():
    (a,) = deltas(random_stack((4,), d_in=40, d_out=30, seed=7))
    R = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    found = pair_of(a, LowRank(torch.linalg.solve(R, a.A), a.B @ R))

    assert relative_distance(found) < 1e-13 and remainder(found) < 1e-13


def test_a_delta_beside_itself_is_exact():
    (a,) = deltas(random_stack((4,), seed=8))

    found = together([same(a), same(a)])

    assert relative_distance(found) == 0.0
    assert best_multiple(found) == 1.0 and remainder(found) == 0.0
    check(same(a), dense(a), dense(a))


def test_opposite_deltas_are_two_apart():
    (a,) = deltas(random_stack((4,), seed=9))

    found = pair_of(a, LowRank(a.A, -a.B))

    assert relative_distance(found) == pytest.approx(2.0, abs=1e-12)
    assert best_multiple(found) == pytest.approx(-1.0) and remainder(found) < 1e-12


def test_chance_is_the_spread_of_cosines_of_turned_deltas():
    layers = [deltas(random_stack((2, 3), d_in=5, d_out=4, seed=i)) for i in range(2)]
    layers[1][0] = LowRank(5 * layers[1][0].A, layers[1][0].B)
    rng = np.random.default_rng(0)

    def turned(x):
        (left, _), (right, _) = (np.linalg.qr(rng.normal(size=(d, d))) for d in x.shape)
        return left @ x @ right

    pairs = [pair_of(a, b) for a, b in layers]
    cosines = []
    for _ in range(4000):
        one = np.concatenate([turned(dense(a)).ravel() for a, _ in layers])
        other = np.concatenate([dense(b).ravel() for _, b in layers])
        cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert chance_of_cosine(together(pairs)) == pytest.approx(np.std(cosines), rel=0.05)
    assert chance_of_cosine(pairs[0]) == pytest.approx(20**-0.5)


def test_values_beside_the_factors_are_vectors():
    a, b = torch.arange(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)

    check(pair_of_values(a, b), a.numpy(), b.numpy())
    check(pair_of_values(a, 0 * b), a.numpy(), 0 * b.numpy())
