"""Linear algebra of several low-rank deltas, in float64 and without their null directions.

A sum, mean or singular vector of the deltas of one layer lies in the space that their factors
span: at most R = r_1 + ... + r_n directions on either side. `core_of` writes every delta as a
p x q matrix there (p, q <= R), exactly, so what follows costs R^3 and never d_out x d_in.

Directions without energy are cut off everywhere: a decomposition may return any vector there, and
methods that give all directions the same size would make that choice as large as the adapters.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.core.delta import LowRank
from copamerge.core.lora import FactorStack

NOISE = 1e-10
"""Singular values below this share of the largest are rounding noise in float64.

Factors come as float32 or less, but their stored numbers are taken as exact."""


class Svd(NamedTuple):
    """`U diag(S) Vt` with k singular values, none of them noise; k may be 0."""

    U: Float64[Tensor, "d k"]
    S: Float64[Tensor, " k"]
    Vt: Float64[Tensor, "k e"]


def svd(X: Float64[Tensor, "d e"], noise: float = NOISE) -> Svd:
    """The thin SVD without the singular values that are noise."""
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    k = int((S > noise * S[:1]).sum()) if len(S) else 0
    return Svd(U[:, :k], S[:k], Vt[:k])


def polar(X: Float64[Tensor, "d k"], noise: float = 1e-8) -> Float64[Tensor, "d k"]:
    """The nearest partial isometry: all singular values that are not noise become 1.

    With noise kept, dependent columns would be filled up with arbitrary directions.
    """
    U, _, Vt = svd(X, noise)
    return U @ Vt


@dataclass(frozen=True, eq=False)
class Core:
    """n deltas as `U M_i V^T` with orthonormal U and V; those of weight or norm 0 are left out."""

    U: Float64[Tensor, "d_out p"]
    V: Float64[Tensor, "d_in q"]
    M: Float64[Tensor, "n p q"]
    """In the order of `kept`, without weights."""
    weights: Float64[Tensor, " n"]
    kept: tuple[int, ...]
    """Which adapters of the stack these are."""

    def weighted(self) -> Float64[Tensor, "n p q"]:
        return self.weights[:, None, None] * self.M

    def lift(self, X: Float64[Tensor, "p q"], rank: int) -> LowRank:
        """`U X V^T` as factors of exactly `rank`; see `lifted`."""
        return lifted(self.U, X, self.V, rank)


def lifted(
    U: Float64[Tensor, "d_out p"],
    X: Float64[Tensor, "p q"],
    V: Float64[Tensor, "d_in q"],
    rank: int,
) -> LowRank:
    """`U X V^T`, U and V orthonormal, as factors of exactly `rank`; what X does not use is zero.

    The singular values are shared equally, so that both factors suit half precision.
    """
    P, S, Qt = svd(X)
    k = min(len(S), rank)
    root = S[:k].sqrt()
    A = torch.zeros(rank, len(V), device=V.device)
    B = torch.zeros(len(U), rank, device=U.device)
    A[:k] = (root[:, None] * (Qt[:k] @ V.mT)).float()
    B[:, :k] = (U @ P[:, :k] * root).float()
    return LowRank(A=A, B=B)


def core_of(stack: FactorStack) -> Core:
    """The deltas of a layer in the space they share (arXiv:2509.17786, section 4).

    U and V are the left singular vectors of all B side by side and of all A^T: which basis it is
    matters to element-wise rules only.
    """
    kept = tuple(i for i in range(stack.n) if _moves(stack, i))
    Bs = [stack.B[i, :, : stack.ranks[i]].double() for i in kept]
    As = [stack.A[i, : stack.ranks[i]].double() for i in kept]
    U = _basis(torch.cat(Bs, dim=1)) if kept else stack.B.new_zeros(stack.B.shape[1], 0).double()
    V = _basis(torch.cat(As).mT) if kept else stack.A.new_zeros(stack.A.shape[2], 0).double()
    M = [(U.mT @ B) @ (A @ V) for A, B in zip(As, Bs, strict=True)]
    return Core(
        U,
        V,
        torch.stack(M) if M else U.new_zeros(0, U.shape[1], V.shape[1]),
        stack.weights[list(kept)].double(),
        kept,
    )


def _moves(stack: FactorStack, i: int) -> bool:
    """Whether the adapter's delta is anything but zero: else its A would still turn the basis."""
    if not (stack.A[i].any() and stack.B[i].any()):
        return False
    A, B = stack.A[i].double(), stack.B[i].double()
    return bool(((B.mT @ B) * (A @ A.mT)).sum() > 0)


def _basis(X: Float64[Tensor, "d k"]) -> Float64[Tensor, "d p"]:
    """Left singular vectors of X by way of its QR: k x k instead of d x k in the SVD."""
    Q, R = torch.linalg.qr(X)
    U: Tensor = Q @ svd(R).U
    return U
