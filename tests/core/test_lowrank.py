"""Core space: exact, small, and blind to directions without energy."""

import numpy as np
import pytest
import torch

from copamerge.core.lowrank import core_of, polar, svd
from strategies import random_stack


def stack_of(*ranks):
    return random_stack(ranks, d_in=30, d_out=24)


def dense(stack):
    return stack.B.double() @ stack.A.double()


@pytest.mark.parametrize("ranks", [(4,), (4, 4, 4), (1, 5, 2), (16, 16, 16)])
def test_core_space_loses_nothing(ranks):
    """The last case has more directions (48) than the layer has outputs (24)."""
    stack = stack_of(*ranks)
    core = core_of(stack)

    again = core.U @ core.M @ core.V.mT

    torch.testing.assert_close(again, dense(stack), rtol=0, atol=1e-12)
    for basis in (core.U, core.V):
        eye = torch.eye(basis.shape[1], dtype=torch.float64)
        torch.testing.assert_close(basis.mT @ basis, eye, rtol=0, atol=1e-12)
        assert basis.shape[1] == min(sum(ranks), len(basis))


def test_copies_share_their_directions():
    stack = stack_of(3, 3)
    stack.A[1], stack.B[1] = stack.A[0], stack.B[0]
    assert core_of(stack).M.shape == (2, 3, 3)


@pytest.mark.parametrize("factor", ["A", "B"])
def test_an_adapter_of_zero_does_not_turn_the_basis(factor):
    stack = stack_of(3, 3, 2)
    getattr(stack, factor)[1] = 0
    core = core_of(stack)
    assert core.kept == (0, 2)
    assert core.M.shape == (2, 5, 5)


def test_factors_that_cancel_each_other_are_zero_too():
    stack = stack_of(2, 2)
    stack.A[0, 1], stack.B[0, :, 1] = stack.A[0, 0], -stack.B[0, :, 0]
    assert core_of(stack).kept == (1,)


def test_the_basis_is_that_of_singular_vectors():
    stack = stack_of(3, 2)
    side_by_side = np.concatenate([stack.B[0, :, :3], stack.B[1, :, :2]], axis=1).astype(float)
    U = np.linalg.svd(side_by_side, full_matrices=False)[0]
    overlap = np.abs(U.T @ core_of(stack).U.numpy())
    np.testing.assert_allclose(overlap, np.eye(5), atol=1e-9)


def test_lifting_fills_up_to_the_announced_rank_and_balances():
    core = core_of(stack_of(2, 2))
    lifted = core.lift(core.M[0], rank=6)
    assert lifted.A.shape == (6, 30)
    assert lifted.A.dtype == torch.float32
    expected = core.U @ core.M[0] @ core.V.mT
    torch.testing.assert_close((lifted.B @ lifted.A).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lifted.A.norm(dim=1), lifted.B.norm(dim=0))
    assert not lifted.A[2:].any()


def test_nothing_at_all_is_zero():
    stack = stack_of(2, 2)
    stack.B.zero_()
    core = core_of(stack)
    lifted = core.lift(core.weighted().sum(0), rank=4)
    assert lifted.A.shape == (4, 30)
    assert not lifted.A.any() and not lifted.B.any()


def test_svd_cuts_noise_and_polar_does_not_fill_it_up():
    rng = torch.Generator().manual_seed(0)
    X = torch.randn(9, 3, generator=rng, dtype=torch.float64)
    doubled = torch.cat([X, X], dim=1)
    assert len(svd(doubled).S) == 3
    # Two copies: each column of the polar factor is the copy's, divided by sqrt(2).
    torch.testing.assert_close(polar(doubled), torch.cat([polar(X)] * 2, dim=1) / 2**0.5)
    U, _, Vt = np.linalg.svd(doubled.numpy(), full_matrices=False)
    assert np.abs(U @ Vt - polar(doubled).numpy()).max() > 0.1  # the reference fills it up
