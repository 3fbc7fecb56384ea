"""What can be done to the adapters of a layer before any method merges them."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import svd

Gauge = Literal["given", "canonical"]
Balance = Literal["none", "equal", "cap"]
Calibrate = Literal["none", "pico", "pico_each"]

MADS = 3.0
"""Median absolute deviations above the median at which a norm is capped (msjo91/OCap)."""


def norms(stack: FactorStack) -> Float64[Tensor, " n"]:
    """The Frobenius norm of each adapter's delta, from Gram matrices of its factors."""
    A, B = stack.A.double(), stack.B.double()
    squares = ((B.mT @ B) * (A @ A.mT)).sum((1, 2))
    return squares.clamp(min=0).sqrt()


def canonical(stack: FactorStack) -> FactorStack:
    """Every adapter as `(P S^1/2, S^1/2 Q^T)` of its own SVD: the same deltas, one factorisation.

    Rank index 0 has the largest singular value. Of the two signs that a pair of vectors may have,
    the one that makes the largest entry of A's row positive.
    """
    A, B = torch.zeros_like(stack.A), torch.zeros_like(stack.B)
    for i, r in enumerate(stack.ranks):
        Q_B, R_B = torch.linalg.qr(stack.B[i, :, :r].double())
        Q_A, R_A = torch.linalg.qr(stack.A[i, :r].double().mT)
        P, S, Vt = svd(R_B @ R_A.mT)
        rows, columns = Vt @ Q_A.mT, Q_B @ P
        largest = rows.gather(1, rows.abs().argmax(1, keepdim=True)) if len(S) else rows[:, :1]
        root = S.sqrt()[:, None] * largest.sign()
        k = len(S)
        A[i, :k] = (root * rows).to(A.dtype)
        B[i, :, :k] = (columns * root.mT).to(B.dtype)
    return replace(stack, A=A, B=B)


def leading(stack: FactorStack, count: int) -> FactorStack:
    """Every adapter cut to its `count` leading singular directions, in canonical factors."""
    cut = canonical(stack)
    A, B = cut.A.clone(), cut.B.clone()
    A[:, count:], B[:, :, count:] = 0, 0
    return replace(cut, A=A, B=B)


def balanced(stack: FactorStack, how: Balance) -> FactorStack:
    """Adapters of more alike sizes: all of the mean norm (`equal`), or none far above the median.

    `cap` shrinks what exceeds median + 3 median absolute deviations to that. LoRA biases shrink
    and grow along. Adapters whose delta is zero count for nothing and stay.
    """
    if how == "none":
        return stack
    sizes = norms(stack)
    moving = sizes > 0
    if not moving.any():
        return stack
    there = sizes[moving]
    if how == "equal":
        wanted = there.mean().expand_as(sizes)
    else:
        middle = there.quantile(0.5)
        wanted = sizes.clamp(max=float(middle + MADS * (there - middle).abs().quantile(0.5)))
    factor = torch.where(moving, wanted / torch.where(moving, sizes, 1.0), 1.0)
    B = stack.B * factor.to(stack.B.dtype)[:, None, None]
    bias = None if stack.bias is None else stack.bias * factor.to(stack.bias.dtype)[:, None]
    return replace(stack, B=B, bias=bias)


def calibrated(stack: FactorStack, how: Calibrate) -> FactorStack:
    """Damp the output directions in which the adapters' B pile up (Pico).

    With `U diag(s) V^T` the SVD of all B side by side and n adapters that move the layer, B loses
    in direction k all but `1 / (1 + (n - 1) s_k^2 / sum s^2)`. `pico_each` then brings every
    adapter back to its own norm, as the reference's command does before it writes them. One
    adapter alone is left as it is.

    Source: arXiv:2604.16826; yixuantt/Pico, pico/pico.py.
    """
    sizes = norms(stack)
    moving = [i for i in range(stack.n) if sizes[i] > 0]
    if how == "none" or len(moving) < 2:
        return stack
    side = torch.cat([stack.B[i, :, : stack.ranks[i]].double() for i in moving], dim=1)
    Q, R = torch.linalg.qr(side)
    P, S, _ = svd(R)
    U, share = Q @ P, S.square() / S.square().sum()
    less = 1 / (1 + (len(moving) - 1) * share) - 1
    B = stack.B.double()
    B = B + U @ (less[:, None] * (U.mT @ B))
    damped = replace(stack, B=B.to(stack.B.dtype))
    if how == "pico":
        return damped
    left = norms(damped)
    back = torch.where(left > 0, sizes / torch.where(left > 0, left, 1.0), 1.0)
    return replace(stack, B=(B * back[:, None, None]).to(stack.B.dtype))
