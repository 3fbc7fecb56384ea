import numpy as np
import pytest
import torch
from pydantic import ValidationError

from copamerge.core.draws import Draws
from copamerge.methods import method_from
from copamerge.methods.copa import Copa
from strategies import CASES, LIKE_RANKS, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def oracle(
    stack,
    density=0.2,
    scale=2.0,
    normalize=True,
    coefficients="inter",
    convention="topk",
    sign=False,
):
    """Equations 2 to 5 entry by entry, in float64."""
    adapters = plain(stack)
    n, r_max = len(adapters), max(stack.ranks)
    d_in, d_out = stack.A.shape[2], stack.B.shape[1]
    if sign:
        sum_A = sum(A for A, _, _, _ in adapters)
        sum_B = sum(B for _, B, _, _ in adapters)
        pruned_A = [np.where(np.sign(A) == np.sign(sum_A), A, 0) for A, _, _, _ in adapters]
        pruned_B = [np.where(np.sign(B) == np.sign(sum_B), B, 0) for _, B, _, _ in adapters]
    else:
        pruned_A = [prune(A, density, convention) for A, _, _, _ in adapters]
        pruned_B = [prune(B, density, convention) for _, B, _, _ in adapters]

    ranks, inputs, outputs = np.zeros((n, r_max)), np.ones((n, d_in)), np.ones((n, d_out))
    for m, (A, B, _, _) in enumerate(adapters):
        for i in range(len(A)):
            between = coefficients == "inter"
            ranks[m, i] = ratio(A[i], pruned_A[m][i]) if between else 1
        for j in range(d_in):
            inputs[m, j] = ratio(A[:, j], pruned_A[m][:, j])
        for o in range(d_out):
            outputs[m, o] = ratio(B[o], pruned_B[m][o])
    if normalize:
        inputs, outputs = share(inputs), share(outputs)
        if coefficients in ("inter", "none"):
            ranks = share(ranks)

    total = np.zeros((d_out, d_in))
    for m, (_, _, w, _) in enumerate(adapters):
        r = stack.ranks[m]
        term = pruned_B[m] @ np.diag(ranks[m, :r]) @ pruned_A[m]
        if coefficients in ("A", "AB"):
            term = term @ np.diag(inputs[m])
        if coefficients in ("B", "AB"):
            term = np.diag(outputs[m]) @ term
        if coefficients == "AB" and normalize:
            term = n * term
        total += scale * w * term
    return total


def ratio(full, kept):
    full, kept = np.abs(full).sum(), np.abs(kept).sum()
    return 0 if full == 0 else 1 if kept == 0 else full / kept


def share(S):
    total = S.sum(0)
    return np.where(total > 0, S / np.where(total > 0, total, 1), 0)


def prune(X, density, convention):
    flat = np.abs(X).flatten()
    size = flat.size
    keep = np.zeros(size, dtype=bool)
    if convention == "topk":
        keep[sorted(range(size), key=lambda i: (-flat[i], i))[: int(density * size)]] = True
    elif convention == "kth":
        k = size - int(size * density)
        keep[:] = True if k == 0 else flat >= sorted(flat)[k - 1]
    else:
        keep[:] = flat >= np.quantile(flat, 1 - density)
    return np.where(keep.reshape(X.shape), X, 0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("density", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("convention", ["topk", "kth", "quantile"])
def test_equals_the_formula(name, density, convention):
    if name.startswith(("exact ties", "adapter and")) and convention == "quantile":
        pytest.skip("an interpolated threshold between equal entries is a matter of rounding")
    options = {"density": density, "convention": convention}

    merged = Copa(**options).merge(CASES[name], DRAWS)

    assert merged.rank == sum(CASES[name].ranks)
    assert_equal(as_array(merged), oracle(CASES[name], **options))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("coefficients", ["inter", "A", "B", "AB", "none"])
@pytest.mark.parametrize("normalize", [True, False])
def test_coefficients_equal_their_formula(name, coefficients, normalize):
    options = {"density": 0.4, "coefficients": coefficients, "normalize": normalize, "scale": 0.7}

    merged = Copa(**options).merge(CASES[name], DRAWS)

    assert_equal(as_array(merged), oracle(CASES[name], **options))


@pytest.mark.parametrize("name", LIKE_RANKS)
@pytest.mark.parametrize("coefficients", ["inter", "AB"])
def test_pruning_by_sign_equals_its_formula(name, coefficients):
    merged = Copa(prune="sign", coefficients=coefficients).merge(LIKE_RANKS[name], DRAWS)

    assert_equal(as_array(merged), oracle(LIKE_RANKS[name], sign=True, coefficients=coefficients))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_golden_v_copies_of_any_number_give_lambda_times_one_pruned(n):
    # methods.md section 8, RobustMerge golden test (v).
    lone = random_stack((4,), d_in=40, d_out=30)
    copies = random_stack((4,) * n, d_in=40, d_out=30)
    copies.A[:], copies.B[:] = lone.A, lone.B

    merged = Copa().merge(copies, DRAWS)

    [(A, B, _, _)] = plain(lone)
    assert_equal(as_array(merged), 2 * prune(B, 0.2, "topk") @ prune(A, 0.2, "topk"))


def test_normalised_coefficients_sum_to_one_over_the_adapters_that_have_the_index():
    # With everything kept S is 1, so each index is divided by how many adapters have it.
    stack = random_stack((2, 1), bias=False)

    merged = Copa(density=1, scale=1).merge(stack, DRAWS)

    first, second, only = (np.outer(merged.B[:, k], merged.A[k]) for k in (0, 2, 1))
    np.testing.assert_allclose(first, np.outer(stack.B[0, :, 0], stack.A[0, 0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(second, np.outer(stack.B[1, :, 0], stack.A[1, 0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(only, np.outer(stack.B[0, :, 1], stack.A[0, 1]), rtol=1e-6)


def test_random_pruning_keeps_about_the_density_and_entries_as_they_are():
    stack = random_stack((8, 8), d_in=500, d_out=400)

    merged = Copa(prune="random", density=0.3, coefficients="none").merge(stack, DRAWS)

    kept = merged.A != 0
    # 8000 draws: a standard deviation of 0.005.
    assert abs(float(kept.float().mean()) - 0.3) < 0.02
    assert torch.equal(merged.A[kept], stack.A.reshape(16, -1)[kept])
    assert not torch.equal(kept[:8], kept[8:])


def test_random_pruning_draws_for_a_and_b_apart():
    stack = random_stack((8,), d_in=50, d_out=50)

    merged = Copa(prune="random", density=0.5, coefficients="none").merge(stack, DRAWS)

    # One stream for both would drop the same places, read row by row.
    assert not torch.equal((merged.A != 0).flatten(), (merged.B != 0).flatten())


def test_random_pruning_follows_seed_layer_and_adapter():
    stack = random_stack((4, 4), d_in=50, d_out=40)
    method = Copa(prune="random")

    one = method.merge(stack, Draws(0, "layer"))

    assert method.seeded() and not Copa().seeded()
    assert not torch.equal(one.A, method.merge(stack, Draws(1, "layer")).A)
    assert not torch.equal(one.A, method.merge(stack, Draws(0, "other")).A)


def test_a_bias_is_a_unit_that_is_never_pruned():
    stack = random_stack((2, 2), weights=[1.0, -0.5])
    wanted = stack.bias[0] - 0.5 * stack.bias[1]

    torch.testing.assert_close(Copa().merge_bias(stack, DRAWS), 2 * wanted / 2)
    torch.testing.assert_close(
        Copa(scale=0.5, normalize=False).merge_bias(stack, DRAWS), 0.5 * wanted
    )


def test_pruning_by_sign_needs_equal_ranks():
    assert "2, 3" in Copa(prune="sign").refusal((2, 3))
    assert Copa(prune="sign").refusal((2, 2)) is None
    assert Copa().refusal((2, 3)) is None


@pytest.mark.parametrize(
    "options",
    [{"prune": "sign", "density": 0.5}, {"prune": "random", "convention": "kth"}],
)
def test_options_without_effect_are_refused(options):
    with pytest.raises(ValidationError, match="no effect"):
        Copa(**options)


def test_any_factor_that_is_not_contiguous_is_read_alike():
    stack = random_stack((3, 3), d_in=20, d_out=30)
    strided = type(stack)(
        **{
            **vars(stack),
            "A": stack.A.mT.contiguous().mT,
            "B": stack.B.mT.contiguous().mT,
        }
    )

    for name in ["copa", "robustmerge", "task_arithmetic", "ties", "dare", "pcb", "factor_linear"]:
        method = method_from(name)
        one, other = method.merge(stack, DRAWS), method.merge(strided, DRAWS)
        assert_equal(as_array(one), as_array(other))
