"""Stacks for tests: by Hypothesis, and named ones that have broken formulas before."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import strategies as st

from copamerge.core.lora import FactorStack


@st.composite
def stack_arguments(draw):
    """Arguments of `random_stack`: any number of adapters, any shape, weights of either sign.

    The weights do not cancel, so that means exist. The stack itself is built in the test: the
    shape checker draws random samples, which Hypothesis forbids inside a strategy.
    """
    n = draw(st.integers(1, 4))
    d_in, d_out = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if draw(st.booleans()):
        ranks = (draw(st.integers(1, 4)),) * n
    else:
        ranks = tuple(draw(st.integers(1, 4)) for _ in range(n))
    weights = [draw(st.sampled_from([1.0, 0.3, 2.0, -0.25])) for _ in range(n)]
    scalings = tuple(draw(st.sampled_from([1.0, 0.5, 2.0])) for _ in range(n))
    absent = draw(st.sampled_from([(), (0.5,)]))
    if sum(weights) + sum(absent) <= 0.1:
        weights = [abs(w) for w in weights]
    return {
        "ranks": ranks,
        "d_in": d_in,
        "d_out": d_out,
        "weights": weights,
        "scalings": scalings,
        "absent": absent,
        "bias": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**31)),
    }


def random_stack(
    ranks, *, d_in=9, d_out=8, weights=None, scalings=None, absent=(), bias=True, seed=0
):
    """Gaussian factors, zero-padded to the largest rank; `scalings` are folded into B."""
    rng = torch.Generator().manual_seed(seed)
    n, r = len(ranks), max(ranks)
    real = torch.arange(r) < torch.tensor(ranks)[:, None]
    scalings = tuple(scalings or (1.0,) * n)
    scaling = torch.tensor(scalings)[:, None]
    return FactorStack(
        "layer",
        torch.randn(n, r, d_in, generator=rng) * real[:, :, None],
        torch.randn(n, d_out, r, generator=rng) * real[:, None, :] * scaling[..., None],
        torch.tensor(list(weights or [1.0] * n)),
        ranks=tuple(ranks),
        scalings=scalings,
        keys=tuple(f"adapter {i}" for i in range(n)),
        absent=tuple(absent),
        bias=torch.randn(n, d_out, generator=rng) * scaling if bias else None,
    )


def _special():
    ties = random_stack((2, 2, 2), d_in=6, d_out=5, seed=1)
    # Small multiples of 1/4: sums and products are exact in float32, so ties are exact as well.
    yield "exact ties", _rounded(ties, 4)
    yield "exact ties, rank one", _rounded(random_stack((1, 1), d_in=6, d_out=6, seed=2), 2)
    row = random_stack((3, 3), seed=3)
    row.A[0, 1] = 0
    yield "zero row of A", row
    faint = random_stack((3, 3), seed=4)
    faint.A[0, 1] *= 1e-3
    yield "row of A that is pruned away", faint
    column = random_stack((3, 3), seed=5)
    column.A[1, :, 2] = 0
    column.B[1, 4] = 0
    yield "zero column of A and zero row of B", column
    empty = random_stack((2, 2, 2), seed=6)
    empty.A[1], empty.B[1], empty.bias[1] = 0, 0, 0
    yield "zero adapter", empty
    start = random_stack((2, 2), seed=7)
    start.B[0] = 0
    yield "B = 0, as initialised", start
    copies = random_stack((3, 3, 3), seed=8)
    for x in (copies.A, copies.B, copies.bias):
        x[1:] = x[:1]
    yield "copies", copies
    opposite = _rounded(random_stack((2, 2), d_in=5, d_out=5, seed=9), 4)
    opposite.A[1], opposite.B[1], opposite.bias[1] = (
        opposite.A[0],
        -opposite.B[0],
        -opposite.bias[0],
    )
    yield "adapter and its negative", opposite


def _rounded(stack, parts):
    return replace(
        stack,
        A=(stack.A * parts).round() / parts,
        B=(stack.B * parts).round() / parts,
        bias=(stack.bias * parts).round() / parts,
    )


LIKE_RANKS = {
    "generic": random_stack((4, 4, 4), weights=[1.0, 0.5, 0.3]),
    "rank one": random_stack((1, 1, 1), seed=10),
    "one adapter": random_stack((3,), weights=[0.7], seed=11),
    "one number": random_stack((1, 1), d_in=1, d_out=1, seed=12),
    "tiny": random_stack((2, 2), d_in=2, d_out=3, seed=13),
    "negative weight": random_stack((2, 2, 2), weights=[1.0, -0.5, 0.25], seed=14),
    "scalings": random_stack((2, 2, 2), scalings=[2.0, 0.5, 1.0], seed=15),
    "missing elsewhere": random_stack((2, 2), absent=[0.5, 1.0], seed=16),
    "wide": random_stack((8, 8), d_in=40, d_out=3, seed=17),
    **dict(_special()),
}
UNLIKE_RANKS = {
    "unlike ranks": random_stack((3, 1, 2), weights=[1.0, -0.5, 2.0], seed=18),
    "unlike ranks, largest last": random_stack((1, 4), seed=19),
}
CASES = {**LIKE_RANKS, **UNLIKE_RANKS}
"""Stacks by name, each with a bias."""


def plain(stack):
    """The stack as float64 arrays, true ranks, for oracles: [(A, B, weight, bias), ...]."""
    return [
        (
            stack.A[i, :r].double().numpy(),
            stack.B[i, :, :r].double().numpy(),
            float(stack.weights[i]),
            stack.bias[i].double().numpy(),
        )
        for i, r in enumerate(stack.ranks)
    ]


def as_array(delta):
    """What a method returned, as one float64 matrix."""
    if hasattr(delta, "matrix"):
        return delta.matrix.double().numpy()
    return (delta.B.double() @ delta.A.double()).numpy()


def assert_equal(got, wanted, tolerance=2e-6):
    """Equal in norm, relative to the wanted value; 2e-6 is a few float32 roundings."""
    got = np.asarray(got, dtype=np.float64)
    assert got.shape == wanted.shape
    assert np.isfinite(got).all()
    error = np.linalg.norm(got - wanted)
    assert error <= tolerance * np.linalg.norm(wanted) + 1e-12, f"off by {error:.3g}"
