"""DC-Merge against plain NumPy on the dense deltas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from copamerge.core.draws import Draws
from copamerge.core.lowrank import core_of
from copamerge.methods.dc_merge import DcMerge, agreed, covered, smoothed, strongest
from copamerge.testing import check_method
from strategies import CASES, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def truncated(X, noise=1e-10):
    U, S, Vt = np.linalg.svd(X, full_matrices=False)
    k = int((S > noise * S[0]).sum())
    return U[:, :k], S[:k], Vt[:k]


def polar(X):
    P, _, Qt = truncated(X, 1e-8)
    return P @ Qt


def oracle(taus, smoothing, rho, keep):
    """Steps 1 to 5 of methods.md 2.24 with dense matrices and truncated polar factors."""
    taus = [tau for tau in taus if tau.any()]
    if not taus:
        return None
    parts = [truncated(tau) for tau in taus]
    U = polar(np.hstack([u for u, _, _ in parts]))
    V = polar(np.hstack([vt.T for _, _, vt in parts]))
    sizes = [len(s) for _, s, _ in parts]
    R = sum(sizes)
    cores, mask, at = [], np.zeros((R, R)), 0
    for u, s, vt in parts:
        q = 1 if smoothing == "average" else min(rho, s[0] / s[-1])
        shape = np.linspace(q, 1, len(s))
        core = U.T @ u @ np.diag(shape / shape.sum() * s.sum()) @ vt @ V
        magnitudes = np.sort(np.abs(core).ravel())[::-1]
        least = magnitudes[max(1, int(keep * R * R)) - 1] * (1 - 1e-9)
        cores.append(np.where(np.abs(core) >= max(least, 1e-10 * magnitudes[0]), core, 0))
        mask[at : at + len(s), at : at + len(s)] = 1
        at += len(s)
    merged = np.zeros((R, R))
    for i, j in np.ndindex(R, R):
        entries = np.array([core[i, j] for core in cores])
        if abs(entries.sum()) > 1e-10 * np.abs(entries).sum():
            merged[i, j] = entries[np.sign(entries) == np.sign(entries.sum())].mean()
    return U @ (merged * mask) @ V.T


SETTINGS = [
    ("average", 5.0, 0.001),
    ("average", 5.0, 0.1),
    ("average", 5.0, 1.0),
    ("linear", 5.0, 0.05),
    ("linear", 1.5, 1.0),
]


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 5, 2), (3,), (12, 12, 12)])
@pytest.mark.parametrize("smoothing, rho, keep", SETTINGS)
def test_it_is_the_formula_on_the_dense_deltas_and_on_their_cores(ranks, smoothing, rho, keep):
    weights = [1.0, 0.5, -0.3][: len(ranks)]
    stack = random_stack(ranks, d_in=30, d_out=24, weights=weights)
    core, taus = core_of(stack), [w * B @ A for A, B, w, _ in plain(stack)]
    wanted = oracle(taus, smoothing, rho, keep)

    small = core.U @ covered(core.weighted(), smoothing, rho, keep) @ core.V.mT
    whole = covered(torch.from_numpy(np.stack(taus)), smoothing, rho, keep)

    np.testing.assert_allclose(small.numpy(), wanted, atol=1e-10)
    np.testing.assert_allclose(whole.numpy(), wanted, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "options", [{}, {"keep": 0.3}, {"smoothing": "linear", "keep": 1}], ids=str
)
def test_it_merges_every_case(name, options):
    stack = CASES[name]
    method = DcMerge(scale=0.5, **options)

    merged = method.merge(stack, DRAWS)

    taus = [w * B @ A for A, B, w, _ in plain(stack)]
    wanted = oracle(taus, method.smoothing, method.rho, method.keep)
    assert_equal(as_array(merged), 0.5 * wanted, 5e-6)
    assert merged.rank == sum(stack.ranks)


def test_smoothing_keeps_the_sum():
    S = torch.tensor([8.0, 3.0, 1.0], dtype=torch.float64)

    assert smoothed(S, "average", 5.0).tolist() == pytest.approx([4, 4, 4])
    assert smoothed(S, "linear", 5.0).tolist() == pytest.approx([12 * x / 9 for x in (5, 3, 1)])
    # 8 to 1 is less than 100 to 1: never steeper than it was.
    assert smoothed(S, "linear", 100.0).tolist() == pytest.approx(
        [12 * x / 13.5 for x in (8, 4.5, 1)]
    )
    assert smoothed(S[:1], "linear", 5.0).tolist() == [8.0]


def test_entries_that_tie_with_the_last_are_kept():
    core = torch.tensor([[[2.0, 1.0], [-1.0 - 1e-13, 1e-14]]], dtype=torch.float64)

    assert strongest(core, 0.5).count_nonzero() == 3
    assert strongest(core, 0.0).tolist() == [[[2.0, 0.0], [0.0, 0.0]]]
    # A zero but for rounding is no entry, whatever is asked for.
    assert strongest(core, 1.0)[0, 1, 1] == 0


def test_the_sign_of_the_sum_decides_and_a_tie_gives_nothing():
    entries = torch.tensor([[[3.0, 1.0, 0.0]], [[-1.0, -1.0, 2.0]], [[1.0, 0.0, 4.0]]]).double()

    assert agreed(entries).tolist() == [[2.0, 0.0, 3.0]]


def test_one_adapter_comes_back_with_its_spectrum_levelled():
    """Its core is one number times the identity: all directions tie and all are kept."""
    stack = random_stack((4,), bias=False)
    U, S, Vt = truncated(plain_delta(stack))

    merged = DcMerge().merge(stack, DRAWS)

    assert_equal(as_array(merged), S.mean() * U @ Vt)


def plain_delta(stack, i=0):
    return stack.B[i].double().numpy() @ stack.A[i].double().numpy()


@pytest.mark.parametrize("keep", [0.001, 1.0])
def test_adapters_that_share_nothing_are_added_with_their_spectra_levelled(keep):
    """Each is alone in its block: nobody to agree or to disagree with."""
    stack = random_stack((2, 2), d_in=30, d_out=24, bias=False)
    stack.A[0, :, 15:], stack.A[1, :, :15] = 0, 0
    stack.B[0, 12:], stack.B[1, :12] = 0, 0
    wanted = 0
    for i in range(2):
        U, S, Vt = truncated(plain_delta(stack, i))
        wanted = wanted + S.mean() * U @ Vt

    assert_equal(as_array(DcMerge(keep=keep).merge(stack, DRAWS)), wanted)


def test_n_copies_give_the_smoothed_adapter_divided_by_n():
    """Each block holds 1/n of every direction; what links the blocks is masked (see the class)."""
    stack = CASES["copies"]
    U, S, Vt = truncated(plain_delta(stack))

    assert_equal(as_array(DcMerge().merge(stack, DRAWS)), S.mean() / 3 * U @ Vt)


def test_beside_its_arbitrary_directions_the_reference_gives_that_as_well():
    """With full polar factors, copies that differ by next to nothing, in the adapter's space."""
    U, S, Vt = truncated(plain_delta(CASES["copies"]))
    rng = np.random.default_rng(0)
    Us = [U + 1e-5 * rng.standard_normal(U.shape) for _ in range(2)]
    Vs = [Vt.T + 1e-5 * rng.standard_normal(Vt.T.shape) for _ in range(2)]
    P, _, Qt = np.linalg.svd(np.hstack(Us), full_matrices=False)
    R, _, Tt = np.linalg.svd(np.hstack(Vs), full_matrices=False)
    U_all, V_all = P @ Qt, R @ Tt
    core = U_all.T @ (S.mean() * U @ Vt) @ V_all
    mask = np.kron(np.eye(2), np.ones((3, 3)))

    reference = U_all @ (core * mask) @ V_all.T

    inside = U.T @ reference @ Vt.T
    np.testing.assert_allclose(inside, S.mean() / 2 * np.eye(3), atol=1e-3)
    # The arbitrary rest is as large as what is meant.
    assert np.linalg.norm(reference - U @ inside @ Vt) > 0.5 * np.linalg.norm(inside)


@pytest.mark.parametrize("factor", ["A", "B"])
def test_an_adapter_of_zero_does_not_change_the_cover(factor):
    stack = random_stack((3, 3, 3), bias=False)
    getattr(stack, factor)[1] = 0
    others = replace(
        stack,
        A=stack.A[[0, 2]],
        B=stack.B[[0, 2]],
        weights=stack.weights[[0, 2]],
        ranks=(3, 3),
        scalings=(1.0, 1.0),
        keys=("adapter 0", "adapter 2"),
    )

    with_it = as_array(DcMerge(keep=0.1).merge(stack, DRAWS))

    assert_equal(with_it, as_array(DcMerge(keep=0.1).merge(others, DRAWS)))


def test_a_weight_is_a_multiple_of_the_adapter():
    stack = random_stack((3, 2), weights=[0.5, -2.0], bias=False)
    folded = replace(stack, B=stack.B * stack.weights[:, None, None], weights=torch.ones(2))

    one, other = (DcMerge(keep=0.1).merge(s, DRAWS) for s in (stack, folded))

    assert_equal(as_array(one), as_array(other))


def test_a_bias_is_averaged():
    stack = CASES["negative weight"]

    wanted = sum(w * b for _, _, w, b in plain(stack)) / 0.75
    assert_equal(DcMerge(scale=2).merge_bias(stack, DRAWS), 2 * wanted)


def test_only_zeros_stay_zero():
    stack = random_stack((2, 3))
    stack.B.zero_()

    merged = DcMerge().merge(stack, DRAWS)

    assert merged.rank == 5 and not merged.A.any() and not merged.B.any()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"smoothing": "linear", "keep": 0.1},
        {"keep": 0.3, "scale": 0.5},
        {"keep": 1},
        {"keep": 0},
        {"smoothing": "linear", "rho": 2, "keep": 1},
    ],
    ids=str,
)
def test_it_keeps_its_promises(options):
    check_method(DcMerge(**options))


def test_an_option_without_effect_is_refused():
    with pytest.raises(ValidationError, match="rho: no effect with smoothing: average"):
        DcMerge(rho=3)
