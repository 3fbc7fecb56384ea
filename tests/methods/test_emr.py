from dataclasses import replace

import numpy as np
import pytest
import torch

from copamerge.core.delta import Dense, LowRank
from copamerge.core.draws import Draws
from copamerge.methods import Law
from copamerge.methods.emr import Emr, agreement, unify
from copamerge.testing import check_law, check_method, example_stacks
from strategies import CASES, LIKE_RANKS, UNLIKE_RANKS, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def oracle(tensors):
    """Algorithm 1 of arXiv:2405.17461, entry by entry."""
    flat = [x.flatten() for x in tensors]
    unified = np.zeros(flat[0].size)
    for e in range(unified.size):
        sign = 1 if sum(x[e] for x in flat) / len(flat) > 0 else -1
        unified[e] = sign * max((abs(x[e]) if x[e] * sign > 0 else 0) for x in flat)
    return unified.reshape(tensors[0].shape)


def weighted_deltas(stack):
    """The float32 deltas: whether they cancel in an entry is decided there."""
    cut = [(stack.A[i, :r], stack.B[i, :, :r]) for i, r in enumerate(stack.ranks)]
    weights = stack.weights.tolist()
    return [((B @ A) * w).double().numpy() for (A, B), w in zip(cut, weights, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_equals_the_formula(name):
    merged = Emr(scale=1.5).merge(CASES[name], DRAWS)

    assert isinstance(merged, Dense)
    assert_equal(merged.matrix, 1.5 * oracle(weighted_deltas(CASES[name])))


@pytest.mark.parametrize("name", CASES)
def test_biases_are_merged_by_the_same_rule(name):
    merged = Emr(scale=0.5).merge_bias(CASES[name], DRAWS)

    assert_equal(merged, 0.5 * oracle([w * b for *_, w, b in plain(CASES[name])]))


@pytest.mark.parametrize("name", LIKE_RANKS)
def test_in_the_factors_it_runs_on_A_and_on_B_apart(name):
    stack = LIKE_RANKS[name]
    roots = np.sqrt(np.abs(stack.weights.numpy() * np.array(stack.scalings)))
    signs = np.sign(stack.weights.numpy())
    on_A = [s * root * A for (A, *_), root, s in zip(plain(stack), roots, signs, strict=True)]
    on_B = [
        root * B / s
        for (_, B, *_), root, s in zip(plain(stack), roots, stack.scalings, strict=True)
    ]

    merged = Emr(space="factors", scale=2.0).merge(stack, DRAWS)

    assert isinstance(merged, LowRank) and merged.rank == max(stack.ranks)
    assert_equal(as_array(merged), 2.0 * oracle(on_B) @ oracle(on_A), 1e-5)


def test_unlike_ranks_are_refused_in_the_factors():
    for stack in UNLIKE_RANKS.values():
        reason = Emr(space="factors").refusal(stack.ranks)
        assert reason is not None and reason.startswith("emr with space: factors needs equal ranks")
        assert Emr().refusal(stack.ranks) is None


def test_where_votes_cancel_the_sign_is_minus():
    one, other = torch.tensor([2.0, 0.0, 3.0]), torch.tensor([-2.0, 0.0, -1.0])

    unified = unify([one, other])

    assert unified.tolist() == [-2.0, 0.0, 3.0]
    assert agreement(one, unified).tolist() == [False, False, True]
    assert agreement(other, unified).tolist() == [True, False, False]


def test_the_loser_may_be_larger_than_the_winners():
    """Two small votes beat a large one only by their sum: 5 loses to nobody, -3 - 3 beat it."""
    assert unify(map(torch.tensor, ([5.0], [-3.0], [-3.5]))).tolist() == [-3.5]


def test_masks_see_numbers_whose_product_is_zero():
    tiny = torch.tensor([1e-30, -1e-30])

    assert agreement(tiny, tiny).all()


@pytest.mark.parametrize("space", ["delta", "factors"])
@pytest.mark.parametrize("n", [1, 4])
def test_one_adapter_or_copies_come_back(space, n):
    stack = random_stack((3,) * n, seed=2)
    for x in (stack.A, stack.B, stack.bias):
        x[1:] = x[:1].clone()

    merged = Emr(space=space).merge(stack, DRAWS)

    assert_equal(as_array(merged), stack.deltas()[0].double().numpy(), 1e-6)
    assert torch.equal(Emr(space=space).merge_bias(stack, DRAWS), stack.bias[0])


def test_a_stack_in_other_coordinates_keeps_its_type():
    stack = random_stack((9, 9), d_in=3, d_out=2)
    wide = replace(
        stack, A=stack.A.double(), B=stack.B.double(), weights=stack.weights.double(), bias=None
    )

    for space in ("delta", "factors"):
        merged = Emr(space=space).merge(wide, DRAWS)
        parts = [merged.matrix] if isinstance(merged, Dense) else [merged.A, merged.B]
        assert all(part.dtype == torch.float64 for part in parts)


@pytest.mark.parametrize("options", [{}, {"scale": 0.5}, {"space": "factors"}])
def test_it_is_a_good_citizen_and_keeps_its_promises(options):
    check_method(Emr(**options))


@pytest.mark.parametrize("law", [Law.LINEARITY, Law.ROTATION])
def test_what_it_does_not_promise_fails(law):
    assert law not in Emr().promises()
    with pytest.raises(AssertionError, match=law.name):
        check_law(Emr(), law, example_stacks()["generic"])


def test_its_user_is_told_that_the_masks_are_elsewhere():
    assert all("copamerge family make" in Emr(space=s).cautions()[0] for s in ("delta", "factors"))
    assert "cross terms" in Emr(space="factors").cautions()[1]
