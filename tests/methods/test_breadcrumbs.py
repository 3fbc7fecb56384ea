from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from copamerge.core.draws import Draws
from copamerge.methods.breadcrumbs import Breadcrumbs
from copamerge.methods.task_arithmetic import TaskArithmetic
from copamerge.methods.ties import Ties
from copamerge.testing import check_method
from strategies import CASES, LIKE_RANKS, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def between(x, density, gamma, scope="row"):
    """Places int(gamma n) to int(gamma n) + int(density n) of each row, from the largest down."""
    rows = x.reshape(1, -1) if scope == "tensor" else x.reshape(-1, x.shape[-1])
    kept = np.zeros(rows.shape)
    for row, left in zip(rows, kept, strict=True):
        order = sorted(range(row.size), key=lambda i, row=row: (-abs(row[i]), i))
        removed = int(gamma * row.size)
        for i in order[removed : removed + int(density * row.size)]:
            left[i] = row[i]
    return kept.reshape(x.shape)


def oracle(tensors, weights, density=0.2, gamma=0.1, scope="row", scale=1.0):
    left = [between(x, density, gamma, scope) for x in tensors]
    return scale * sum(w * x for x, w in zip(left, weights, strict=True))


def elected(xs, weights, vote="unweighted", combine="mean"):
    """Disjoint merge where an exact tie of the votes elects plus."""
    votes = [w * x if vote == "weighted" else x for x, w in zip(xs, weights, strict=True)]
    plus = sum(votes) >= 0
    agree = [np.where(plus, v > 0, v < 0) for v in votes]
    above = sum(w * x * a for x, w, a in zip(xs, weights, agree, strict=True))
    return above / np.maximum(sum(agree), 1) if combine == "mean" else above


def tensors_of(stack):
    """The float32 deltas: whether two of their entries tie is decided there."""
    cut = [(stack.A[i, :r], stack.B[i, :, :r]) for i, r in enumerate(stack.ranks)]
    return [(B @ A).double().numpy() for A, B in cut]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "density, gamma", [(0.0, 0.1), (0.2, 0.1), (0.6, 0.4), (0.5, 0.01), (1, 0)]
)
@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_equals_the_formula(name, density, gamma, scope):
    stack = CASES[name]
    options = {"density": density, "gamma": gamma, "scope": scope, "scale": 0.4}

    merged = Breadcrumbs(**options).merge(stack, DRAWS)

    assert_equal(merged.matrix, oracle(tensors_of(stack), stack.weights.tolist(), **options))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vote, combine", [("unweighted", "mean"), ("weighted", "sum")])
def test_with_ties_it_elects_signs_among_what_is_left(name, vote, combine):
    stack = CASES[name]
    options = {"vote": vote, "combine": combine}
    method = Breadcrumbs(density=0.5, then="ties", sign="nonnegative", scale=1.3, **options)

    merged = method.merge(stack, DRAWS)

    left = [between(x, 0.5, 0.1) for x in tensors_of(stack)]
    assert_equal(merged.matrix, 1.3 * elected(left, stack.weights.tolist(), **options))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_biases_follow_the_same_rule_as_one_row(name, scope):
    stack, options = CASES[name], {"density": 0.5, "gamma": 0.2, "scale": 1.5}

    merged = Breadcrumbs(scope=scope, **options).merge_bias(stack, DRAWS)

    biases = [b for *_, b in plain(stack)]
    assert_equal(merged, oracle(biases, stack.weights.tolist(), **options))


@pytest.mark.parametrize("name", CASES)
def test_with_nothing_left_out_it_is_the_sum_or_ties(name):
    stack = CASES[name]

    summed = Breadcrumbs(density=1, gamma=0).merge(stack, DRAWS)
    elected = Breadcrumbs(density=1, gamma=0, then="ties").merge(stack, DRAWS)

    assert_equal(summed.matrix, as_array(TaskArithmetic().merge(stack, DRAWS)))
    assert_equal(elected.matrix, as_array(Ties(density=1).merge(stack, DRAWS)))


@pytest.mark.parametrize("gamma", [0.0, 0.01])
def test_a_share_of_less_than_one_entry_removes_none(gamma):
    # mergekit's slice [n_bot:-0] is empty there, and its merge zero.
    stack = random_stack((2,), d_in=8, d_out=5)

    kept = Breadcrumbs(density=0.25, gamma=gamma).merge(stack, DRAWS).matrix != 0

    largest = stack.deltas()[0].abs().topk(2).indices
    assert kept.sum(1).tolist() == [2] * 5
    assert kept.gather(1, largest).all()


def test_outliers_and_small_entries_go():
    stack = random_stack((1,), d_in=10, d_out=1)
    stack.A[0, 0] = torch.tensor([3.0, -9, 1, 0, -8, 2, 7, -4, 5, 6])
    stack.B[0, 0] = 1.0

    merged = Breadcrumbs(density=0.3, gamma=0.2).merge(stack, DRAWS)

    assert merged.matrix.tolist() == [[0, 0, 0, 0, 0, 0, 7, 0, 5, 6]]


def test_equal_magnitudes_count_from_the_lowest_index():
    stack = random_stack((1,), d_in=5, d_out=1)
    stack.A[:], stack.B[:] = 1.0, 1.0

    merged = Breadcrumbs(density=0.4, gamma=0.2).merge(stack, DRAWS)

    assert merged.matrix.tolist() == [[0, 1, 1, 0, 0]]


@pytest.mark.parametrize("name", LIKE_RANKS)
@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_on_factors_the_rule_runs_on_each(name, scope):
    stack, options = LIKE_RANKS[name], {"density": 0.5, "scope": scope}
    roots = [abs(w * s) ** 0.5 for w, s in zip(stack.weights.tolist(), stack.scalings, strict=True)]
    signed = [c if w >= 0 else -c for c, w in zip(roots, stack.weights.tolist(), strict=True)]
    raw_B = [B / s for (_, B, _, _), s in zip(plain(stack), stack.scalings, strict=True)]

    merged = Breadcrumbs(space="factors", **options).merge(stack, DRAWS)

    assert merged.rank == stack.ranks[0]
    assert_equal(merged.A, oracle([A for A, *_ in plain(stack)], signed, **options))
    assert_equal(merged.B, oracle(raw_B, roots, **options))


def test_on_factors_it_needs_equal_ranks_and_warns():
    method = Breadcrumbs(space="factors")

    assert "3, 1, 2" in method.refusal((3, 1, 2))
    assert method.refusal((2, 2)) is None
    assert method.result_rank((2, 2)) == 2
    crossed, narrow = method.cautions()
    assert "cross terms" in crossed
    assert "int(0.2 r)" in narrow and "r < 5" in narrow
    assert len(Breadcrumbs(space="factors", scope="tensor").cautions()) == 1
    assert Breadcrumbs().cautions() == () and Breadcrumbs().result_rank((2, 2)) is None


@pytest.mark.parametrize("density, gamma", [(0.95, 0.1), (1, 0.01), (0.5, 0.6)])
def test_shares_that_do_not_fit_are_refused(density, gamma):
    with pytest.raises(ValidationError, match="are more than 1 together"):
        Breadcrumbs(density=density, gamma=gamma)


@pytest.mark.parametrize(
    "options",
    [
        {"sign": "drop"},
        {"combine": "sum"},
        {"then": "ties", "combine": "sum", "divide": "weights"},
        {"then": "ties", "space": "factors", "divide": "weights"},
    ],
)
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValidationError, match=r"leave it out|means nothing"):
        Breadcrumbs(**options)


@pytest.mark.parametrize("space", ["delta", "factors"])
@pytest.mark.parametrize("then", ["sum", "ties"])
def test_in_float64_it_stays_there(space, then):
    stack = random_stack((2, 2))
    method = Breadcrumbs(density=0.5, space=space, then=then)

    merged = method.merge(replace(stack, A=stack.A.double(), B=stack.B.double()), DRAWS)

    found = merged.matrix if space == "delta" else merged.B @ merged.A
    assert found.dtype == torch.float64
    assert_equal(found, as_array(method.merge(stack, DRAWS)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"density": 0},
        {"density": 1, "gamma": 0, "then": "ties"},
        {"density": 0.5, "scope": "tensor", "then": "ties", "sign": "drop", "combine": "sum"},
        {"density": 0.6, "space": "factors"},
    ],
)
def test_it_is_a_good_citizen(options):
    check_method(Breadcrumbs.model_validate(options))
