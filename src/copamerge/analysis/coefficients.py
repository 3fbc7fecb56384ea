"""What coefficients between B and A do to a merge of pruned factors."""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor


class Reweighted(NamedTuple):
    """Squared norms and inner product of `B diag(x) A` and `B diag(y) A`; layers add up."""

    apart: float
    """`||B diag(x - y) A||_F^2`"""
    with_x: float
    with_y: float
    inner: float


def reweighted(
    gram_B: Float64[Tensor, "R R"],
    gram_A: Float64[Tensor, "R R"],
    x: Float64[Tensor, " R"],
    y: Float64[Tensor, " R"],
) -> Reweighted:
    """Compare two sets of coefficients on the same factors, from `B^T B` and `A A^T`.

    `<B diag(x) A, B diag(y) A> = x^T (B^T B * A A^T) y`, entry by entry.
    """
    H = gram_B * gram_A

    def form(one: Tensor, other: Tensor) -> float:
        return float(one @ H @ other)

    return Reweighted(
        apart=max(0.0, form(x - y, x - y)),
        with_x=max(0.0, form(x, x)),
        with_y=max(0.0, form(y, y)),
        inner=form(x, y),
    )


def multiples(
    A: Float64[Tensor, "r d_in"],
    B: Float64[Tensor, "d_out r"],
    x: Float64[Tensor, " r"],
    S: Float64[Tensor, " k"],
) -> Float64[Tensor, " k"]:
    """Singular value i of `B diag(x) A` over `S_i`, those of the adapter's own delta.

    0 or more; 0 where pruning lowered the rank; 1 for all i where nothing was pruned and x is 1.

    Source: figure 2b of arXiv:2502.17159.
    """
    R_A = torch.linalg.qr(A.mT, mode="r").R
    R_B = torch.linalg.qr(B, mode="r").R
    values = torch.linalg.svdvals((R_B * x) @ R_A.mT)
    kept = torch.zeros_like(S)
    k = min(len(S), len(values))
    kept[:k] = values[:k]
    return kept / S
