"""How adapters relate: their starts and their sizes."""

from math import sqrt

import pytest
import torch

from copamerge.analysis.imbalance import imbalance, shares
from copamerge.analysis.initialisation import APART, SHARED, row_cosines


def mean(pair):
    return pair[0] / pair[1]


def test_a_shared_start_is_near_one_and_others_near_zero():
    rng = torch.Generator().manual_seed(0)
    start, other, moved, moved_too = torch.rand(4, 16, 400, generator=rng) * 2 - 1

    assert mean(row_cosines(start + 0.1 * moved, start + 0.1 * moved_too)) > SHARED
    # The standard error of independent rows: 1 / sqrt(16 * 400) = 0.0125.
    assert abs(mean(row_cosines(start, other))) < 4 / sqrt(16 * 400) < APART


def test_rows_are_compared_one_by_one():
    A = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    B = torch.tensor([[3.0, 0.0], [0.0, -1.0], [1.0, 1.0]])

    assert row_cosines(A, B) == (0.0, 2)  # 1 and -1; the row of zero is left out


def test_shares_are_of_squares():
    assert shares([3.0, 4.0]) == pytest.approx((9 / 25, 16 / 25))
    assert shares([0.0, 0.0]) == (None, None)


@pytest.mark.parametrize(
    "norms, ratio",
    [([2.0, 1.0, 8.0], 8.0), ([1.0, 0.0, 4.0], 4.0), ([1.0], None), ([0.0, 2.0], None), ([], None)],
)
def test_imbalance_is_between_the_largest_and_the_smallest_that_moves(norms, ratio):
    assert imbalance(norms) == ratio
