from dataclasses import replace

import numpy as np
import pytest
import robustmerge_reference as released
import torch

from copamerge.core.draws import Draws
from copamerge.methods.robustmerge import RobustMerge
from strategies import CASES, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def oracle(stack, density=0.2, clamp=0.2, fuse=2.0):
    """The released steps with our guards, in float64 and as loops."""
    adapters = plain(stack)
    n, r_max = len(adapters), max(stack.ranks)
    S = np.zeros((n, r_max))
    A_m, B_m = np.zeros((r_max, stack.A.shape[2])), np.zeros((stack.B.shape[1], r_max))
    for m, (A, _, _, _) in enumerate(adapters):
        pruned = prune(A, density)
        for i in range(len(A)):
            full, kept = np.abs(A[i]).sum(), np.abs(pruned[i]).sum()
            S[m, i] = 0 if full == 0 else 1 if kept == 0 else full / kept
        present = sorted(s for s in S[m] if s > 0)
        if present:
            low = present[min(int(len(present) * (1 - clamp)), len(present) - 1)]
            S[m] = [max(s, low) if s > 0 else 0 for s in S[m]]
        A_m[: len(A)] += fuse * pruned
    for m, (_, B, w, _) in enumerate(adapters):
        pruned = prune(B, density)
        for i in range(B.shape[1]):
            share = S[m, i] / S[:, i].sum() if S[:, i].sum() > 0 else 0
            B_m[:, i] += fuse * w * share * pruned[:, i]
    return B_m @ A_m


def prune(X, density):
    k = int(X.size * (1 - density))
    if k == 0:
        return X
    threshold = sorted(np.abs(X).flatten())[k - 1]
    return np.where(np.abs(X) >= threshold, X, 0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"density": 0.5, "clamp": 0.6, "fuse": 1.5}])
def test_equals_the_formula(name, options):
    merged = RobustMerge(**options).merge(CASES[name], DRAWS)

    assert merged.rank == max(CASES[name].ranks)
    assert_equal(as_array(merged), oracle(CASES[name], **options), 1e-5)


@pytest.mark.parametrize("options", [{"density": 0}, {"density": 1}, {"clamp": 0}, {"clamp": 1}])
@pytest.mark.parametrize("name", CASES)
def test_the_ends_of_the_options_equal_the_formula(name, options):
    merged = RobustMerge(**options).merge(CASES[name], DRAWS)

    assert_equal(as_array(merged), oracle(CASES[name], **options), 1e-5)


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize("r", [1, 2, 3, 4, 5, 8, 10, 16])
def test_equals_the_released_steps(r, n):
    stack = random_stack((r,) * n, d_in=96, d_out=64, seed=r)

    merged = RobustMerge().merge(stack, DRAWS)

    A_m, B_m = released.merged_factors(list(stack.A), list(stack.B))
    # 1e-6: sums in another order, float32.
    assert_equal(merged.A, A_m.double().numpy(), 1e-6)
    assert_equal(merged.B, B_m.double().numpy(), 1e-6)


def test_equals_the_released_steps_on_bfloat16_ties():
    # bfloat16 has 8 significant bits, so most magnitudes of a large tensor are not unique.
    stack = random_stack((16,) * 8, d_in=512, d_out=256)
    stack = replace(stack, A=stack.A.bfloat16().float(), B=stack.B.bfloat16().float())

    merged = RobustMerge().merge(stack, DRAWS)

    A_m, B_m = released.merged_factors(list(stack.A), list(stack.B))
    assert_equal(merged.A, A_m.double().numpy(), 1e-6)
    assert_equal(merged.B, B_m.double().numpy(), 1e-6)
    assert torch.equal(merged.A != 0, A_m != 0)


# --- golden values: methods.md section 8, measured with the official lines executed in torch -----


def test_golden_i_keeps_13109_of_a_16_by_4096_tensor():
    stack = random_stack((16,), d_in=4096, d_out=16)

    merged = RobustMerge().merge(stack, DRAWS)

    assert int((merged.A != 0).sum()) == 13109 == 16 * 4096 - 52428 + 1


@pytest.mark.parametrize(
    "r, clamped",
    [
        (16, [13.0] * 13 + [14.0, 15.0, 16.0]),
        (8, [7.0] * 7 + [8.0]),
        (5, [5.0] * 5),
        (1, [1.0]),
    ],
)
def test_golden_ii_clamp_lifts_all_but_the_top_fifth(r, clamped):
    S = torch.arange(1.0, r + 1).double()

    assert RobustMerge()._clamped(S[None])[0].tolist() == clamped
    assert released.clamp(S[None])[0].tolist() == clamped


def test_golden_iii_one_adapter_gives_four_times_itself_pruned():
    stack = random_stack((4,), d_in=40, d_out=30)

    merged = RobustMerge().merge(stack, DRAWS)

    [(A, B, _, _)] = plain(stack)
    assert_equal(as_array(merged), 4 * prune(B, 0.2) @ prune(A, 0.2))


@pytest.mark.parametrize("n", [2, 5])
def test_golden_iv_n_copies_give_four_n_times_one_pruned(n):
    stack = random_stack((4,), d_in=40, d_out=30, bias=False)
    copies = replace(
        stack,
        A=stack.A.repeat(n, 1, 1),
        B=stack.B.repeat(n, 1, 1),
        weights=torch.ones(n),
        ranks=(4,) * n,
        scalings=(1.0,) * n,
        keys=tuple("abcde"[:n]),
    )

    merged = RobustMerge().merge(copies, DRAWS)

    A, B = stack.A[0].double().numpy(), stack.B[0].double().numpy()
    assert_equal(as_array(merged), 4 * n * prune(B, 0.2) @ prune(A, 0.2))


# --- what the released code does not have --------------------------------------------------------


def test_a_zero_row_of_a_does_not_spread():
    stack = CASES["zero row of A"]
    A_m, B_m = released.merged_factors(list(stack.A), list(stack.B))

    merged = RobustMerge().merge(stack, DRAWS)

    # 0/0 in one row makes the clamp's bounds NaN, and with them all of the released B.
    assert B_m.isnan().all() and not A_m.isnan().any()
    assert merged.B.isfinite().all() and merged.B.any()


def test_a_zero_row_takes_no_part_in_the_clamp():
    S = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).double()

    # Of the five present the fifth is the first of the top fifth; of six it would be the fourth.
    assert RobustMerge()._clamped(S[None])[0].tolist() == [0, 5, 5, 5, 5, 5]


def test_weights_scale_terms_of_b_only():
    stack = random_stack((3, 3), weights=[1.0, 1.0])
    weighted = replace(stack, weights=torch.tensor([1.0, -2.0]))

    one, other = RobustMerge().merge(stack, DRAWS), RobustMerge().merge(weighted, DRAWS)

    assert torch.equal(one.A, other.A)
    assert not torch.equal(one.B, other.B)


def test_padding_changes_nothing():
    lone = random_stack((2,), d_in=20, d_out=10)
    both = random_stack((2, 4), d_in=20, d_out=10)
    both.A[0, :2], both.B[0, :, :2] = lone.A[0], lone.B[0]
    both.A[1], both.B[1] = 0, 0

    merged = RobustMerge().merge(both, DRAWS)

    assert_equal(as_array(merged), as_array(RobustMerge().merge(lone, DRAWS)))


def test_biases_are_averaged_over_all_adapters():
    stack = random_stack((2, 2), weights=[1.0, 0.5], absent=[1.0, 1.0])
    wanted = stack.bias[0] + 0.5 * stack.bias[1]

    torch.testing.assert_close(RobustMerge().merge_bias(stack, DRAWS), wanted / 4)
    torch.testing.assert_close(RobustMerge(average=0.5).merge_bias(stack, DRAWS), wanted / 2)
