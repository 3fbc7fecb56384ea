"""PEFT's svd against plain NumPy on the dense sum; PEFT itself judges in interop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from copamerge.core.draws import Draws
from copamerge.methods import Law
from copamerge.methods.svd import Svd, clamped
from copamerge.testing import check_method
from strategies import CASES, as_array, assert_equal, plain, random_stack

DRAWS = Draws(0, "layer")


def the_sum(stack):
    return sum(w * B @ A for A, B, w, _ in plain(stack))


def oracle(X, rank, quantile=None):
    U, S, Vt = np.linalg.svd(X, full_matrices=False)
    # Beyond the rank that X has, singular vectors are arbitrary.
    rank = min(rank, int((S > 1e-10 * S[0]).sum()))
    US, Vt = U[:, :rank] * S[:rank], Vt[:rank]
    if quantile is not None:
        both = np.concatenate([US.ravel(), Vt.ravel()])
        most = np.quantile(np.abs(both), 2 * quantile - 1) if len(both) else 0
        US, Vt = US.clip(-most, most), Vt.clip(-most, most)
    return US @ Vt


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rank", [None, 1, 3, 50])
def test_it_is_the_truncated_sum(name, rank):
    stack = CASES[name]

    merged = Svd(rank=rank).merge(stack, DRAWS)

    wanted = oracle(the_sum(stack), rank or max(stack.ranks))
    assert_equal(as_array(merged), wanted)
    assert merged.rank == (min(rank, sum(stack.ranks)) if rank else max(stack.ranks))
    assert merged.A.dtype == merged.B.dtype == torch.float32


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 5, 2), (3,), (12, 12, 12)])
@pytest.mark.parametrize("quantile", [0.95, 0.6])
def test_the_low_rank_route_is_the_dense_one_in_float64(ranks, quantile):
    stack = random_stack(ranks, d_in=30, d_out=24)
    stack = replace(stack, A=stack.A.double(), B=stack.B.double())

    merged = Svd(rank=3, clamp=quantile).merge(stack, DRAWS)

    assert merged.A.dtype == merged.B.dtype == torch.float64
    np.testing.assert_allclose(as_array(merged), oracle(the_sum(stack), 3, quantile), atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_clamped_it_is_the_formula_where_spectra_are_simple(name):
    stack = CASES[name]

    merged = Svd(clamp=0.8).merge(stack, DRAWS)

    assert_equal(as_array(merged), oracle(the_sum(stack), max(stack.ranks), 0.8), 5e-6)


def test_the_clamp_is_peft_s_quantile_of_symmetric_entries():
    rng = torch.Generator().manual_seed(0)
    half = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    US, V = torch.cat([half, -half]), torch.cat([half[:20], -half[:20]])

    cut, _ = clamped(US, V, 0.9)

    hers = float(torch.quantile(torch.cat([US.flatten(), V.flatten()]), 0.9))
    # Interpolated between other neighbours: at most one gap between entries apart.
    assert float(cut.max()) == pytest.approx(hers, rel=0.02)
    assert torch.equal(clamped(-US, -V, 0.9)[0], -cut)


def test_singular_values_are_shared_equally():
    merged = Svd(rank=3).merge(random_stack((4, 4)), DRAWS)

    A, B = merged.A.double(), merged.B.double()
    torch.testing.assert_close(A @ A.mT, B.mT @ B, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rank", [2, 8])
def test_an_adapter_of_zero_makes_no_room_for_the_others(rank):
    """By default the rank is the largest input rank: of a delta that is there."""
    stack = random_stack((2, 2, rank), bias=False)
    stack.B[2] = 0
    others = random_stack((2, 2, rank), bias=False)
    others = replace(
        others,
        A=others.A[:2, :2],
        B=others.B[:2, :, :2],
        weights=others.weights[:2],
        ranks=(2, 2),
        scalings=(1.0, 1.0),
        keys=others.keys[:2],
    )

    merged = Svd().merge(stack, DRAWS)

    assert merged.rank == rank
    assert_equal(as_array(merged), as_array(Svd().merge(others, DRAWS)))


def test_a_bias_is_summed():
    stack = CASES["unlike ranks"]

    assert_equal(Svd().merge_bias(stack, DRAWS), sum(w * b for _, _, w, b in plain(stack)))


def test_only_zeros_stay_zero():
    stack = random_stack((2, 3))
    stack.A.zero_()

    for clamp in (None, 0.9):
        merged = Svd(clamp=clamp).merge(stack, DRAWS)
        assert merged.rank == 3 and not merged.A.any() and not merged.B.any()


@pytest.mark.parametrize(
    "options", [{}, {"rank": 2}, {"rank": 40}, {"clamp": 0.9}, {"rank": 2, "clamp": 0.99}], ids=str
)
def test_it_keeps_its_promises(options):
    check_method(Svd(**options))


def test_a_chosen_rank_may_cut_a_single_adapter():
    assert Law.IDENTITY in Svd().promises()
    assert Law.IDENTITY not in Svd(rank=2).promises()


@pytest.mark.parametrize("clamp", [0.5, 1, 0.3])
def test_a_clamp_that_would_leave_nothing_or_everything_is_refused(clamp):
    with pytest.raises(ValidationError):
        Svd(clamp=clamp)
