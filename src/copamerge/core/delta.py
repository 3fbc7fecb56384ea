"""What a merge method returns, and its compression to a chosen rank."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from copamerge.core.draws import Draws

EXACT_SVD_UP_TO = 512
"""Smaller side of a dense delta up to which its SVD is exact; above, it is randomised."""

OVERSAMPLE = 112
"""Directions a randomised SVD looks at beyond the rank asked for; see docs/adr/0007."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """A delta as `B @ A`, never formed."""

    A: Float[Tensor, "k d_in"]
    B: Float[Tensor, "d_out k"]

    @property
    def rank(self) -> int:
        return self.A.shape[0]


@dataclass(frozen=True, eq=False)
class Dense:
    """A delta as the matrix it is."""

    matrix: Float[Tensor, "d_out d_in"]


WeightDelta = LowRank | Dense


@dataclass(frozen=True)
class Energy:
    """A rank chosen per layer: the smallest that keeps this share of the squared norm."""

    share: float


@dataclass(frozen=True, eq=False)
class Factorized:
    """A delta of bounded rank and what the bound cost."""

    A: Float[Tensor, "k d_in"]
    B: Float[Tensor, "d_out k"]
    kept: float | None
    """`||BA||^2 / ||delta||^2`, in [0, 1]; None when the delta is zero: nothing to keep."""
    exact: bool
    """True when the factors are the method's own: nothing was truncated or recomputed."""

    @property
    def rank(self) -> int:
        return self.A.shape[0]


def squared_norm(delta: WeightDelta) -> float:
    """Squared Frobenius norm; for factors by Gram matrices, k x k."""
    if isinstance(delta, Dense):
        return float(delta.matrix.double().square().sum())
    return float(((delta.B.mT @ delta.B).double() * (delta.A @ delta.A.mT).double()).sum())


def factorize(delta: WeightDelta, rank: int | Energy | None, draws: Draws) -> Factorized:
    """The best approximation of `delta` of the given rank, with the share of energy it keeps.

    `rank` None keeps a low-rank delta as it is. Factors that needed no truncation come back
    untouched, bit for bit. Singular values are shared equally by A and B, which keeps both in
    the range of a half-precision type. SVDs of factors are float64: QR of A and B, then an SVD
    of k x k. Dense deltas up to EXACT_SVD_UP_TO on the smaller side get an exact float32 SVD;
    larger ones a randomised one (Halko et al. 2011, arXiv:0909.4061, algorithm 4.4, four power
    iterations), whose `kept` is still the exact share that the returned factors hold.

    Raises:
        ValueError: a dense delta without a rank.
    """
    if isinstance(delta, LowRank):
        if rank is None or (isinstance(rank, int) and rank >= delta.rank):
            return Factorized(delta.A, delta.B, 1.0 if delta.rank else None, exact=True)
        return _split(*_svd_of_factors(delta), rank, total=None)
    if rank is None:
        raise ValueError("a dense delta has no factors of its own: give a rank")
    total = squared_norm(delta)
    return _split(*_svd_of_matrix(delta.matrix, rank, total, draws), rank, total)


def _svd_of_factors(delta: LowRank) -> tuple[Tensor, Tensor, Tensor]:
    # Q of B and of A^T; when k exceeds a side, QR returns the smaller basis, which is enough.
    Q_B, R_B = torch.linalg.qr(delta.B.double())
    Q_A, R_A = torch.linalg.qr(delta.A.double().mT)
    P, S, Qt = torch.linalg.svd(R_B @ R_A.mT, full_matrices=False)
    return Q_B @ P, S, Qt @ Q_A.mT


def _svd_of_matrix(
    X: Tensor, rank: int | Energy, total: float, draws: Draws
) -> tuple[Tensor, Tensor, Tensor]:
    small = min(X.shape)
    tries = [rank] if isinstance(rank, int) else [2**i for i in range(6, small.bit_length())]
    for k in tries:
        if small <= EXACT_SVD_UP_TO or k > small // 4:
            break
        U, S, Vt = _randomized_svd(X, k, draws)
        if isinstance(rank, int) or float(S.double().square().sum()) >= rank.share * total:
            return U, S, Vt
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    return U, S, Vt


def _randomized_svd(X: Tensor, k: int, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    width = min(k + OVERSAMPLE, *X.shape)
    drawn = draws.stream("", "randomized svd")
    start = torch.randn(X.shape[1], width, generator=drawn, dtype=X.dtype, device="cpu")
    Q, _ = torch.linalg.qr(X @ start.to(X.device))
    for _ in range(4):
        Q, _ = torch.linalg.qr(X.mT @ Q)
        Q, _ = torch.linalg.qr(X @ Q)
    P, S, Vt = torch.linalg.svd(Q.mT @ X, full_matrices=False)
    return Q @ P[:, :k], S[:k], Vt[:k]


def _split(U: Tensor, S: Tensor, Vt: Tensor, rank: int | Energy, total: float | None) -> Factorized:
    energy = S.double().square()
    total = float(energy.sum()) if total is None else total
    if total == 0.0:
        k = 1 if isinstance(rank, Energy) else min(rank, len(S))
        return Factorized(
            Vt.new_zeros(k, Vt.shape[1]).float(), U.new_zeros(len(U), k).float(), None, False
        )
    if isinstance(rank, Energy):
        held = energy.cumsum(0) / total
        # 1e-12: a share of 1.0 asks for the numerical rank, not for rounding noise.
        k = int((held < rank.share - 1e-12).sum()) + 1
        k = min(k, len(S))
    else:
        k = min(rank, len(S))
    root = S[:k].sqrt()
    kept = min(1.0, float(energy[:k].sum()) / total)
    return Factorized(
        (root[:, None] * Vt[:k]).float(), (U[:, :k] * root).float(), kept, exact=False
    )


def cosines(
    delta: LowRank, A: Float[Tensor, "n r d_in"], B: Float[Tensor, "n d_out r"]
) -> "Geometry":
    """Norms of a delta and of n others, and the cosine between it and each, by Gram matrices.

    Float32 products summed in float64, unless the terms cancel or underflow: then all float64.
    """
    found = _geometry(delta, A, B)
    largest = max(found.input_norms)
    if found.norm < 0.03 * largest or min(found.norm, *found.input_norms) < 1e-15:
        return _geometry(LowRank(delta.A.double(), delta.B.double()), A.double(), B.double())
    return found


def _geometry(
    delta: LowRank, A: Float[Tensor, "n r d_in"], B: Float[Tensor, "n d_out r"]
) -> "Geometry":
    n, r, _ = A.shape
    # One product over all adapters is faster than n small ones, and A is already stored that way.
    with_A = (delta.A @ A.flatten(0, 1).mT).view(-1, n, r).movedim(1, 0)
    cross = _products(delta.B.mT @ B, with_A)
    own = _products(B.mT @ B, A @ A.mT).clamp(min=0).sqrt()
    norm = max(squared_norm(delta), 0.0) ** 0.5
    return Geometry(
        norm=norm,
        input_norms=tuple(own.tolist()),
        cosines=tuple(
            max(-1.0, min(1.0, dot / (norm * size))) if norm > 0 and size > 0 else None
            for dot, size in zip(cross.tolist(), own.tolist(), strict=True)
        ),
    )


def _products(of_B: Float[Tensor, "n k r"], of_A: Float[Tensor, "n k r"]) -> Float[Tensor, " n"]:
    """<B B', A A'> for each pair, from the small matrices B^T B' and A A'^T, summed in float64."""
    return (of_B.double() * of_A.double()).sum((1, 2))


@dataclass(frozen=True)
class Geometry:
    """A merged delta beside its inputs. A cosine is None where one of the two deltas is zero."""

    norm: float
    input_norms: tuple[float, ...]
    cosines: tuple[float | None, ...]
