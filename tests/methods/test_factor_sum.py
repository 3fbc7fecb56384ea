"""LoraHub's merge: a product of sums."""

import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.methods.factor_sum import FactorSum
from copamerge.testing import check_method
from strategies import CASES, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


@pytest.mark.parametrize("name", [name for name in CASES if len(set(CASES[name].ranks)) == 1])
def test_it_is_the_product_of_the_weighted_sums(name):
    stack = CASES[name]
    A = sum(w * A for A, _, w, _ in plain(stack))
    B = sum(w * B for _, B, w, _ in plain(stack))

    merged = FactorSum().merge(stack, DRAWS)

    assert merged.rank == stack.ranks[0]
    assert_equal(as_array(merged), B @ A)
    bias = FactorSum().merge_bias(stack, DRAWS) if stack.bias is not None else None
    if bias is not None:
        assert_equal(bias, sum(w * b for _, _, w, b in plain(stack)))


def test_it_keeps_its_promises():
    check_method(FactorSum())


def test_weights_count_twice():
    once = FactorSum().merge(random_stack((2, 2), weights=[0.5, -1.0]), DRAWS)
    twice = FactorSum().merge(random_stack((2, 2), weights=[1.0, -2.0]), DRAWS)

    np.testing.assert_allclose(as_array(twice), 4 * as_array(once), rtol=1e-5)


def test_equal_shares_of_copies_give_the_adapter_back():
    one = random_stack((2,))
    A, B = one.A.expand(4, -1, -1), one.B.expand(4, -1, -1)
    copies = type(one)(
        one.layer, A, B, torch.full((4,), 0.25), one.ranks * 4, one.scalings * 4, tuple("abcd")
    )

    assert_equal(as_array(FactorSum().merge(copies, DRAWS)), (one.B[0] @ one.A[0]).numpy())


def test_unlike_ranks_are_refused():
    assert "needs equal ranks" in (FactorSum().refusal((2, 3)) or "")
