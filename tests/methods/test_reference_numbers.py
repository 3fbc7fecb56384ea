"""What the official code does where ours differs on purpose, by its measured size.

The numbers were measured once, with NumPy in float64 on the references' formulas: d_out 24, d_in
20, three Gaussian adapters of rank 4. Those draws are not known, so a third either way is allowed,
and more where the number depends on a matrix that is not known either.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from copamerge.core.draws import Draws
from copamerge.methods import method_from
from strategies import as_array, random_stack

DRAWS = Draws(0, "layer")


def stack_of(seed=0, n=3):
    return random_stack((4,) * n, d_in=20, d_out=24, seed=seed, bias=False)


def merged(stack, **method):
    return as_array(method_from(method).merge(stack, DRAWS))


def off(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


def copies(stack):
    A, B = stack.A[:1].expand(3, -1, -1), stack.B[:1].expand(3, -1, -1)
    return replace(stack, A=A.clone(), B=B.clone())


def with_zero(stack):
    """A fourth adapter whose B is zero, as initialised."""
    more = stack_of(seed=99, n=4)
    A = torch.cat([stack.A, more.A[3:]])
    B = torch.cat([stack.B, torch.zeros_like(more.B[3:])])
    return replace(more, A=A, B=B)


def full_polar(X):
    U, _, Vt = np.linalg.svd(X, full_matrices=False)
    return U @ Vt


def reference_tsv(stack):
    """With every direction of the joint bases, those without energy as well."""
    parts = [np.linalg.svd((B @ A).double().numpy()) for A, B in zip(stack.A, stack.B, strict=True)]
    U = np.concatenate([U[:, :4] for U, _, _ in parts], axis=1)
    V = np.concatenate([Vt[:4].T for _, _, Vt in parts], axis=1)
    S = np.concatenate([S[:4] for _, S, _ in parts])
    return (full_polar(U) * S) @ full_polar(V).T


def mean_of(values):
    return float(np.mean(list(values)))


def test_copies_under_tsv_m():
    stack = copies(stack_of())
    tau = (stack.B[0] @ stack.A[0]).double().numpy()

    assert off(reference_tsv(stack), tau) > 0.9  # 1.4 there; which directions fill up is chance
    assert off(merged(stack, name="tsv_m"), tau) < 1e-5


def test_a_zero_adapter_under_tsv_m():
    stack = stack_of()

    assert off(reference_tsv(with_zero(stack)), reference_tsv(stack)) > 0.3  # 0.72 there
    assert off(merged(with_zero(stack), name="tsv_m"), merged(stack, name="tsv_m")) < 1e-5


def test_a_zero_adapter_under_ties_in_core_space():
    stack = stack_of()
    without = merged(stack, rule="ties", space="core", density=0.3)

    # Its A turned the basis in the reference: 0.60 to 0.62.
    assert off(merged(with_zero(stack), rule="ties", space="core", density=0.3), without) < 1e-5


def test_the_two_readings_of_knots():
    def between(seed):
        stack = stack_of(seed)
        plain = merged(stack, rule="ties", space="knots", density=0.2, weighted=False)
        return off(plain, merged(stack, rule="ties", space="knots", density=0.2))

    assert mean_of(map(between, range(8))) == pytest.approx(0.36, rel=1 / 3)


@pytest.mark.parametrize(
    "method, number",
    [
        ({"rule": "ties", "space": "core", "density": 0.2}, 0.77),
        ({"name": "pico"}, 0.10),
        ({"name": "factor_linear"}, 0.87),
        ({"name": "copa"}, 1.1),
        ({"name": "robustmerge"}, 1.2),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_another_factorisation_of_the_same_adapters(method, number):
    def change(seed, **more):
        stack, rng = stack_of(seed), torch.Generator().manual_seed(seed)
        Q, _ = torch.linalg.qr(torch.randn(3, 4, 4, generator=rng))
        G = Q * torch.linspace(0.5, 2.0, 4)
        turned = replace(stack, B=stack.B @ G, A=torch.linalg.solve(G, stack.A))
        return off(merged(turned, **method, **more), merged(stack, **method, **more))

    assert number / 3 < mean_of(map(change, range(8))) < number * 3
    assert change(0, gauge="canonical") < 1e-3


def test_copies_under_pico():
    stack = copies(stack_of())
    tau = (stack.B[0] @ stack.A[0]).double().numpy()

    assert off(merged(stack, name="pico"), tau) == pytest.approx(0.14, rel=1 / 2)


def test_truncating_wudi_by_the_rank_instead_of_the_inputs():
    # 68 % there: K is a share of the d_in inputs, not of the R directions.
    def change(seed):
        stack = stack_of(seed)
        whole = merged(stack, name="wudi", share=0.65)
        return off(merged(stack, name="wudi", share=0.65 * 12 / 20), whole)

    assert mean_of(map(change, range(8))) == pytest.approx(0.68, rel=1 / 3)
