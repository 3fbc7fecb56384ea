"""TSV-M, Iso-C, Iso-CTS and WUDI against plain NumPy on the dense deltas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.core.lowrank import core_of
from copamerge.methods import method_from
from copamerge.methods.iso_c import isotropic
from copamerge.methods.iso_cts import common_and_own
from copamerge.methods.tsv_m import decorrelated
from copamerge.methods.wudi import least_interference
from copamerge.testing import example_stacks
from strategies import random_stack

DRAWS = Draws(0, "layer")


def stack_of(*ranks, weights=None):
    return random_stack(ranks, d_in=30, d_out=24, weights=weights)


def deltas(stack):
    weights = stack.weights.double()[:, None, None]
    return (weights * (stack.B.double() @ stack.A.double())).numpy()


def truncated(X):
    U, S, Vt = np.linalg.svd(X, full_matrices=False)
    k = (S > 1e-10 * S[0]).sum()
    return U[:, :k], S[:k], Vt[:k]


def oracle_tsv(taus, keep=None, flatten=0.0):
    """Algorithm 1 of the paper, its polar factors without null directions."""
    parts = [truncated(tau) for tau in taus]
    U = np.concatenate([p[0][:, :keep] for p in parts], axis=1)
    V = np.concatenate([p[2][:keep].T for p in parts], axis=1)
    S = np.concatenate([p[1][:keep] for p in parts])
    P, _, Qt = truncated(U)
    R, _, Tt = truncated(V)
    return (P @ Qt) @ np.diag(S + flatten * (S.mean() - S)) @ (R @ Tt).T


def oracle_iso(taus, side=False):
    U, S, Vt = truncated(sum(taus))
    return S.sum() / (min(taus[0].shape) if side else len(S)) * U @ Vt


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 5, 2), (3,), (12, 12, 12)])
@pytest.mark.parametrize("keep", [None, 2])
def test_tsv_m_is_the_papers_algorithm(ranks, keep):
    stack = stack_of(*ranks, weights=[1.0, 0.5, -0.3][: len(ranks)])
    core, taus = core_of(stack), deltas(stack)
    wanted = oracle_tsv(taus, keep)

    small = core.U @ decorrelated(core.weighted(), keep) @ core.V.mT
    whole = decorrelated(torch.from_numpy(taus), keep)
    merged = method_from({"name": "tsv_m", "keep": keep}).merge(stack, DRAWS)

    np.testing.assert_allclose(small.numpy(), wanted, atol=1e-10)
    np.testing.assert_allclose(whole.numpy(), wanted, atol=1e-10)
    np.testing.assert_allclose((merged.B @ merged.A).numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("flatten", [0.3, 1.0])
def test_tsv_m_flattened(flatten):
    stack = stack_of(1, 5, 2)

    merged = method_from({"name": "tsv_m", "flatten": flatten}).merge(stack, DRAWS)

    wanted = oracle_tsv(deltas(stack), flatten=flatten)
    np.testing.assert_allclose((merged.B @ merged.A).numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 5, 2), (3,), (12, 12, 12)])
@pytest.mark.parametrize("over", ["rank", "side"])
def test_iso_c_is_the_papers_algorithm_on_the_rank_of_the_sum(ranks, over):
    stack = stack_of(*ranks, weights=[1.0, 0.5, -0.3][: len(ranks)])
    core, taus = core_of(stack), deltas(stack)
    wanted = oracle_iso(taus, over == "side")
    count = min(taus[0].shape) if over == "side" else None

    small = core.U @ isotropic(core.weighted().sum(0), count) @ core.V.mT
    merged = method_from({"name": "iso_c", "over": over}).merge(stack, DRAWS)

    np.testing.assert_allclose(small.numpy(), wanted, atol=1e-10)
    np.testing.assert_allclose((merged.B @ merged.A).numpy(), wanted, atol=1e-4)


def oracle_iso_cts(taus, share):
    """Algorithm 2 of the paper, its counts against the rank that the deltas have."""
    n = len(taus)
    rank = min(len(truncated(np.hstack(taus))[1]), len(truncated(np.vstack(taus))[1]))
    own = min(max(1, round((1 - share) * rank / n)), rank // n)
    U, S, Vt = truncated(sum(taus))
    k = min(rank - n * own, len(S))
    Us, Ss, Vs = [], [], []
    for tau in taus:
        u, s, vt = truncated(tau - U[:, :k] @ U[:, :k].T @ tau)
        Us, Ss, Vs = [*Us, u[:, :own]], [*Ss, *s[:own]], [*Vs, vt[:own].T]
    P, _, Qt = truncated(np.hstack([*Us, U[:, :k]]))
    R, _, Tt = truncated(np.hstack([*Vs, Vt[:k].T]))
    return np.mean([*Ss, *S[:k]]) * (P @ Qt) @ (R @ Tt).T


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 5, 2), (3,), (12, 12, 12)])
@pytest.mark.parametrize("share", [0.8, 0.3])
def test_iso_cts_is_the_papers_algorithm_on_the_directions_there_are(ranks, share):
    stack = stack_of(*ranks, weights=[1.0, 0.5, -0.3][: len(ranks)])
    core, taus = core_of(stack), deltas(stack)
    wanted = oracle_iso_cts(taus, share)

    small = core.U @ common_and_own(core.weighted(), share) @ core.V.mT
    merged = method_from({"name": "iso_cts", "common": share}).merge(stack, DRAWS)

    np.testing.assert_allclose(small.numpy(), wanted, atol=1e-10)
    np.testing.assert_allclose((merged.B @ merged.A).numpy(), wanted, atol=1e-4)


def oracle_wudi(taus, start, filter, time, share):
    """The closed form of arXiv:2606.07289 with dense d_in x d_in matrices."""
    C = sum(tau.T @ tau / (tau**2).sum() for tau in taus)
    D = sum(tau @ tau.T @ tau / (tau**2).sum() for tau in taus)
    if filter == "none":
        inverse = np.linalg.pinv(C, rcond=1e-10, hermitian=True)
        return start @ (np.eye(len(C)) - C @ inverse) + D @ inverse
    values, V = np.linalg.eigh(C)
    values, V = np.clip(values[::-1], 0, None), V[:, ::-1]
    if filter == "spectral":
        f = 1 - np.exp(-values * time)
        f[int(np.ceil(len(C) * share)) :] = 0
    else:
        f = np.zeros(len(C))
        f[: int(np.ceil(np.sqrt(values).sum() ** 2 / values.sum()))] = 1
    keep = V @ np.diag(f) @ V.T
    return start - start @ keep + D @ V @ np.diag(f / np.maximum(values, 1e-8)) @ V.T


@pytest.mark.parametrize("ranks", [(4, 4, 4), (1, 5, 2), (3,)])
@pytest.mark.parametrize("filter", ["spectral", "adaptive", "none"])
@pytest.mark.parametrize("start", ["sum", "mean", "zero"])
def test_wudi_is_the_closed_form(ranks, filter, start):
    weights = [1.0, 0.5, -0.3][: len(ranks)]
    stack = stack_of(*ranks, weights=weights)
    core, taus = core_of(stack), deltas(stack)
    factor = {"sum": 1.0, "mean": 1 / sum(weights), "zero": 0.0}[start]
    wanted = oracle_wudi(taus, factor * sum(taus), filter, 300.0, 0.65)

    total = core.weighted().sum(0)
    merged = least_interference(
        core.weighted(), factor * total, filter, time=300.0, directions=math.ceil(30 * 0.65)
    )
    written = method_from({"name": "wudi", "filter": filter, "start": start}).merge(stack, DRAWS)

    np.testing.assert_allclose((core.U @ merged @ core.V.mT).numpy(), wanted, atol=1e-8)
    np.testing.assert_allclose((written.B @ written.A).numpy(), wanted, atol=1e-3)


def test_the_closed_form_of_wudi_is_the_minimum():
    """No step from it makes the loss smaller; steps of descent from the sum lead to it."""
    stack = stack_of(4, 4, 4)
    core = core_of(stack)
    M = core.weighted()

    def loss(X):
        return (((X - M) @ M.mT).square().sum((1, 2)) / M.square().sum((1, 2))).sum()

    best = least_interference(M, M.sum(0), "none", time=1.0, directions=1)
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = torch.randn(best.shape, generator=rng, dtype=torch.float64)
        assert loss(best + 1e-3 * step) >= loss(best) - 1e-12
    assert loss(best) < 0.1 * loss(M.sum(0))


def test_adapters_that_share_nothing_are_added_by_tsv_m():
    """Orthogonal rows and columns: the plain sum (methods.md P13)."""
    stack = stack_of(2, 2)
    stack.A[0, :, 15:], stack.A[1, :, :15] = 0, 0
    stack.B[0, 12:], stack.B[1, :12] = 0, 0
    merged = method_from("tsv_m").merge(stack, DRAWS)
    np.testing.assert_allclose((merged.B @ merged.A).numpy(), sum(deltas(stack)), atol=1e-4)


def test_iso_c_of_copies_has_the_adapters_directions_and_n_times_its_mean():
    stack = stack_of(3, 3, 3)
    stack.A[1:], stack.B[1:] = stack.A[:1], stack.B[:1]
    U, S, Vt = truncated(deltas(stack)[0])
    merged = method_from("iso_c").merge(stack, DRAWS)
    np.testing.assert_allclose((merged.B @ merged.A).numpy(), 3 * S.mean() * U @ Vt, atol=1e-4)


@pytest.mark.parametrize("name", ["tsv_m", "iso_c", "iso_cts", "wudi"])
def test_a_zero_adapter_changes_nothing_but_a_bias(name):
    stack = example_stacks()["generic"]
    method = method_from(name)
    alone = method.merge(stack, DRAWS)
    added = stack_with_zero(stack)
    merged = method.merge(added, DRAWS)
    torch.testing.assert_close(merged.B @ merged.A, alone.B @ alone.A, rtol=0, atol=1e-5)


def stack_with_zero(stack):
    return replace(
        stack,
        A=torch.cat([stack.A, stack.A[:1].flip(-1)]),
        B=torch.cat([stack.B, torch.zeros_like(stack.B[:1])]),
        weights=torch.cat([stack.weights, torch.ones(1)]),
        ranks=(*stack.ranks, stack.A.shape[1]),
        scalings=(*stack.scalings, 1.0),
        keys=(*stack.keys, "zero"),
        bias=None if stack.bias is None else torch.cat([stack.bias, stack.bias[:1] * 0]),
    )
