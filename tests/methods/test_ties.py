import numpy as np
import pytest
import torch
from peft.utils import merge_utils
from pydantic import ValidationError

from copamerge.core.delta import Dense
from copamerge.core.draws import Draws
from copamerge.methods.ties import Ties
from strategies import CASES, LIKE_RANKS, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def oracle(
    tensors,
    weights,
    density=0.2,
    scale=1.0,
    combine="mean",
    sign="reference",
    vote="unweighted",
    divide="count",
    convention="topk",
):
    """Algorithm 1 entry by entry."""
    shape = tensors[0].shape
    trimmed = [trim(x.flatten(), density, convention) for x in tensors]
    votes = [w * x if vote == "weighted" else x for x, w in zip(trimmed, weights, strict=True)]
    size = trimmed[0].size
    signs = [np.sign(sum(x[e] for x in votes)) for e in range(size)]
    merged = np.zeros(size)
    for e in range(size):
        elected = signs[e]
        if elected == 0 and sign == "nonnegative":
            elected = 1
        if elected == 0 and sign == "reference":
            elected = 1 if sum(signs) > 0 else -1
        agree = [i for i, x in enumerate(votes) if elected != 0 and np.sign(x[e]) == elected]
        offers = [weights[i] * trimmed[i][e] for i in agree]
        if combine == "max":
            merged[e] = max(offers, key=abs, default=0)
        elif combine == "sum" or not agree:
            merged[e] = sum(offers)
        elif divide == "count":
            merged[e] = sum(offers) / len(agree)
        else:
            total = sum(weights[i] for i in agree)
            merged[e] = sum(offers) / (total if abs(total) > 1e-9 else 1)
    return scale * merged.reshape(shape)


def trim(x, density, convention):
    magnitudes, size = np.abs(x), x.size
    keep = np.zeros(size, dtype=bool)
    if convention == "topk":
        keep[sorted(range(size), key=lambda i: (-magnitudes[i], i))[: int(density * size)]] = True
    elif convention == "kth":
        k = size - int(size * density)
        keep[:] = True if k == 0 else magnitudes >= sorted(magnitudes)[k - 1]
    else:
        keep[:] = magnitudes >= np.quantile(magnitudes, 1 - density)
    return np.where(keep, x, 0)


def tensors_of(stack):
    """The float32 deltas: whether two of their entries tie is decided there."""
    cut = [(stack.A[i, :r], stack.B[i, :, :r]) for i, r in enumerate(stack.ranks)]
    return [(B @ A).double().numpy() for A, B in cut]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("density", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("convention", ["topk", "kth"])
def test_equals_the_formula(name, density, convention):
    stack, options = CASES[name], {"density": density, "convention": convention}

    merged = Ties(**options).merge(stack, DRAWS)

    assert isinstance(merged, Dense)
    wanted = oracle(tensors_of(stack), stack.weights.tolist(), **options)
    assert_equal(merged.matrix, wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("combine", ["mean", "sum", "max"])
@pytest.mark.parametrize("sign", ["reference", "nonnegative", "drop"])
@pytest.mark.parametrize("vote", ["unweighted", "weighted"])
def test_options_equal_their_formula(name, combine, sign, vote):
    stack = CASES[name]
    options = {"density": 0.6, "scale": 1.3, "combine": combine, "sign": sign, "vote": vote}

    merged = Ties(**options).merge(stack, DRAWS)

    wanted = oracle(tensors_of(stack), stack.weights.tolist(), **options)
    assert_equal(merged.matrix, wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vote", ["unweighted", "weighted"])
def test_dividing_by_weights_equals_its_formula(name, vote):
    stack, options = CASES[name], {"density": 0.7, "divide": "weights", "vote": vote}

    merged = Ties(**options).merge(stack, DRAWS)

    assert_equal(merged.matrix, oracle(tensors_of(stack), stack.weights.tolist(), **options))


def test_weights_that_cancel_divide_by_one():
    # In float32 these sum to 1.5e-8, which is no divisor.
    stack = random_stack((1, 1, 1), weights=[0.3, -0.1, -0.2])
    stack.A[:], stack.B[:] = stack.A[:1].clone(), stack.B[:1].clone()

    merged = Ties(density=1, divide="weights").merge(stack, DRAWS)

    assert merged.matrix.abs().max() < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_biases_are_merged_by_the_same_rule(name):
    stack = CASES[name]

    merged = Ties(density=0.5, scale=1.5).merge_bias(stack, DRAWS)

    biases = [b for *_, b in plain(stack)]
    assert_equal(merged, oracle(biases, stack.weights.tolist(), density=0.5, scale=1.5))


def test_everything_kept_is_the_signed_mean_and_not_the_sum():
    stack = random_stack((2, 2))
    one, other = stack.deltas()

    merged = Ties(density=1).merge(stack, DRAWS)

    agree = one.sign() == other.sign()
    louder = torch.where(one.abs() > other.abs(), one, other)
    torch.testing.assert_close(merged.matrix, torch.where(agree, (one + other) / 2, louder))


# --- on the factors: PEFT is the judge ----------------------------------------------------------


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("name", LIKE_RANKS)
@pytest.mark.parametrize("density", [0.3, 0.7, 1.0])
def test_on_factors_equals_peft(name, density):
    stack = LIKE_RANKS[name]
    if name.startswith(("exact ties", "adapter and", "copies")) and density < 1:
        pytest.skip("PEFT breaks exact ties in an order of its own")

    merged = Ties(space="factors", density=density, sign="nonnegative").merge(stack, DRAWS)

    scaling = torch.tensor(stack.scalings)
    roots = (stack.weights * scaling).abs().sqrt()
    raw_B = stack.B / scaling[:, None, None]
    A = merge_utils.ties(list(stack.A), roots * stack.weights.sign(), density)
    B = merge_utils.ties(list(raw_B), roots, density)
    assert merged.rank == stack.ranks[0]
    assert_equal(merged.A, A.double().numpy())
    assert_equal(merged.B, B.double().numpy())


def test_on_factors_needs_equal_ranks_and_warns():
    method = Ties(space="factors")

    assert "3, 1, 2" in method.refusal((3, 1, 2))
    assert method.refusal((2, 2)) is None
    assert "cross terms" in method.cautions()[0]
    assert method.result_rank((2, 2)) == 2
    assert Ties().cautions() == () and Ties().result_rank((2, 2)) is None


@pytest.mark.parametrize(
    "options", [{"combine": "max", "divide": "weights"}, {"space": "factors", "divide": "weights"}]
)
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValidationError, match="divide"):
        Ties(**options)
