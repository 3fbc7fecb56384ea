"""Spectra against NumPy on the matrices themselves, and where the answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from copamerge.analysis.image import svd_of
from copamerge.analysis.spectrum import (
    effective_rank,
    energy_at,
    rank_for,
    stable_rank,
    values_of_product,
)
from strategies import CASES, plain

EXACT = 1e-8
SPECTRA = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)


def values(*numbers):
    return torch.tensor(sorted(numbers, reverse=True), dtype=torch.float64)


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES)
def test_ranks_are_those_of_the_dense_matrices(stack):
    for A, B, _, _ in plain(stack):
        S = np.linalg.svd(B @ A, compute_uv=False)

        found = svd_of(torch.tensor(A), torch.tensor(B)).S

        if not len(found):
            assert stable_rank(found) is None and effective_rank(found) is None
            continue
        p = S[: len(found)] / S[: len(found)].sum()
        assert stable_rank(found) == pytest.approx((S**2).sum() / S[0] ** 2, abs=EXACT)
        assert effective_rank(found) == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=EXACT)
        assert energy_at(found, 1) == pytest.approx(S[0] ** 2 / (S**2).sum(), abs=EXACT)


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES)
def test_the_spectrum_of_a_sum_comes_from_gram_matrices(stack):
    terms = plain(stack)
    A = np.concatenate([A for A, _, _, _ in terms])
    B = np.concatenate([B for _, B, _, _ in terms], axis=1)
    S = np.linalg.svd(B @ A, compute_uv=False)

    found = values_of_product(torch.tensor(B.T @ B), torch.tensor(A @ A.T)).numpy()

    padded = np.zeros(max(len(S), len(found)))
    padded[: len(S)] = S
    assert np.abs(padded[: len(found)] - found).max() <= 1e-7 * max(
        np.linalg.norm(y @ x, 2) for x, y, _, _ in terms
    )
    for rank in range(1, 5):
        if S[0] > 1e-6:
            share = (S[:rank] ** 2).sum() / (S**2).sum()
            assert energy_at(torch.tensor(found), rank) == pytest.approx(share, abs=EXACT)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_equal_values_have_the_rank_that_they_are(k):
    assert stable_rank(values(*[3.0] * k)) == pytest.approx(k)
    assert effective_rank(values(*[3.0] * k)) == pytest.approx(k)
    assert energy_at(values(*[3.0] * k), 1) == pytest.approx(1 / k)


@given(SPECTRA)
def test_ranks_lie_between_one_and_all(numbers):
    S = values(*numbers)

    assert 1 - EXACT <= stable_rank(S) <= len(S) + EXACT
    assert stable_rank(S) * (1 - EXACT) <= effective_rank(S) <= len(S) + EXACT


@given(SPECTRA, st.floats(1e-3, 1e3))
def test_scale_does_not_matter(numbers, c):
    assert stable_rank(c * values(*numbers)) == pytest.approx(stable_rank(values(*numbers)))
    assert effective_rank(c * values(*numbers)) == pytest.approx(effective_rank(values(*numbers)))


def test_random_factors_are_near_their_rank():
    g = torch.Generator().manual_seed(0)
    A, B = torch.randn(8, 2000, generator=g), torch.randn(2000, 8, generator=g)

    S = svd_of(A, B).S

    assert 6.5 < stable_rank(S) < 8 and 7.8 < effective_rank(S) < 8


@given(SPECTRA, st.floats(0.01, 1))
def test_the_rank_for_a_share_is_the_smallest_that_keeps_it(numbers, share):
    S = values(*numbers)

    rank = rank_for([S], share)

    assert energy_at(S, rank) >= share - 1e-9
    assert rank == 1 or energy_at(S, rank - 1) < share


def test_one_rank_serves_all_layers():
    assert rank_for([values(1.0), values(1.0, 1.0, 1.0)], 0.75) == 2
    assert rank_for([values(), values(0.0)], 0.9) is None
    assert rank_for([], 0.9) is None
