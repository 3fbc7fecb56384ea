"""The deltas of a layer in the coordinates that they themselves span, and the way back.

Every space is a pair of maps: adapters in, as factors in other coordinates, so that any method can
merge them there; and the merged matrix out. All in float64, nothing of d_out x d_in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.core.delta import Dense, LowRank, WeightDelta
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import NOISE, Core, core_of, lifted, svd

MOST_STEPS = 1000
"""Alternations of a Tucker decomposition at most (tensorly's default is 100, the paper's 1000)."""
SETTLED = 1e-6
"""Change of the share of energy held, below which a Tucker decomposition is finished."""


@dataclass(frozen=True, eq=False)
class View:
    """The adapters of a layer in other coordinates."""

    stack: FactorStack
    """One whose delta is zero turned no basis, and has factors of zero."""
    lift: Callable[[WeightDelta], WeightDelta]
    """A matrix in these coordinates as a delta of the layer; from other coordinates of low rank
    and in float32."""


def in_core(stack: FactorStack) -> View:
    """`M_n = U^T tau_n V` in the bases of all B side by side and of all A^T.

    Source: arXiv:2509.17786, section 4; apanariello4/core-space-merging.
    """
    core = core_of(stack)
    U, V = _not_empty(core.U), _not_empty(core.V)
    inside = _inside(stack, core, U.mT, V)

    def lift(merged: WeightDelta) -> LowRank:
        if isinstance(merged, LowRank):
            return LowRank(A=(merged.A.double() @ V.mT).float(), B=_lifted(U, merged.B))
        return lifted(U, merged.matrix.double(), V, sum(stack.ranks))

    return View(inside, lift)


def in_knots(stack: FactorStack, *, weighted: bool) -> View:
    """`[tau_1 .. tau_N] = U S [V_1^T .. V_N^T]`: adapters share U, rules see the parts V_n^T.

    `weighted` parts are `S V_n^T = U^T tau_n`, as in the reference; unweighted ones get S back
    after the rule, as in re-implementations.

    Source: arXiv:2410.19735, section 4; gstoica27/KnOTS.
    """
    core = core_of(stack)
    # Row spaces do not matter to the left singular vectors: the core has the same as the deltas.
    P, S, _ = svd(torch.cat(list(core.M), dim=1) if len(core.M) else core.U.new_zeros(0, 0))
    U = _not_empty(core.U @ P)
    if weighted or not len(S):
        S = U.new_ones(U.shape[1])
    inside = _inside(stack, core, (U / S).mT, None)

    def lift(merged: WeightDelta) -> LowRank:
        if isinstance(merged, LowRank):
            return LowRank(A=merged.A.float(), B=_lifted(U * S, merged.B))
        rank = sum(stack.ranks)
        A = torch.zeros(rank, stack.A.shape[2], device=U.device)
        B = torch.zeros(len(U), rank, device=U.device)
        parts = merged.matrix.double() * S[:, None]
        # Rows of unlike size, as the singular values are: each pair shares its size equally.
        root = parts.norm(dim=1).sqrt()
        safe = torch.where(root > 0, root, 1.0)
        A[: len(S)] = (parts / safe[:, None]).float()
        B[:, : len(S)] = (U * root).float()
        return LowRank(A=A, B=B)

    return View(inside, lift)


def in_ctm(stack: FactorStack, *, rank: int, beta: float) -> View:
    """`C_n = P^T tau_n Q`, the deltas in one pair of `rank` directions that suits all of them.

    P and Q maximise the energy that the proxies `tau_n (beta |tau_n| + (1 - beta) mean |tau|) /
    |tau_n|` have in them: with `beta` 0 every adapter counts alike, with 1 by its size.

    Source: arXiv:2606.03723; ZhengbaoHe/compress-then-merge.
    """
    core = core_of(stack)
    sizes = core.M.flatten(1).norm(dim=1)
    proxies = core.M * ((beta * sizes + (1 - beta) * sizes.mean()) / sizes)[:, None, None]
    left, right = tucker(proxies, rank)
    P, Q = _not_empty(core.U @ left), _not_empty(core.V @ right)

    def lift(merged: WeightDelta) -> LowRank:
        X = merged.matrix if isinstance(merged, Dense) else merged.B @ merged.A
        return lifted(P, X.double(), Q, rank)

    return View(_inside(stack, core, P.mT, Q), lift)


def tucker(
    X: Float64[Tensor, "n p q"], rank: int
) -> tuple[Float64[Tensor, "p a"], Float64[Tensor, "q b"]]:
    """Orthonormal P and Q of at most `rank` columns with the largest `sum_n |P^T X_n Q|^2`.

    By alternation from the leading directions of each side (higher-order orthogonal iteration, De
    Lathauwer et al. 2000), to a local maximum. Columns in the order of their energy.
    """
    energy = float(X.square().sum())
    if energy == 0.0:
        return X.new_zeros(X.shape[1], 0), X.new_zeros(X.shape[2], 0)
    P = _leading((X @ X.mT).sum(0), rank)
    Q = _leading((X.mT @ X).sum(0), rank)
    held = -1.0
    for _ in range(MOST_STEPS):
        XQ = X @ Q
        P = _leading((XQ @ XQ.mT).sum(0), rank)
        PX = P.mT @ X
        Q = _leading((PX.mT @ PX).sum(0), rank)
        now = float((PX @ Q).square().sum()) / energy
        if now - held < SETTLED:
            break
        held = now
    return P, Q


def _leading(gram: Float64[Tensor, "d d"], rank: int) -> Float64[Tensor, "d k"]:
    """Eigenvectors of the largest eigenvalues, none of them noise."""
    values, vectors = torch.linalg.eigh(gram)
    # A Gram matrix squares singular values, so noise begins at the square root.
    there = int((values > NOISE * values[-1:]).sum())
    leading: Tensor = vectors.flip(1)[:, : min(rank, there)]
    return leading


def _inside(
    stack: FactorStack, core: Core, on_B: Tensor, on_A: Float64[Tensor, "d_in q"] | None
) -> FactorStack:
    """All adapters, B multiplied from the left and A from the right; no factors without a delta."""
    moves = torch.zeros(stack.n, 1, 1, dtype=torch.float64, device=stack.A.device)
    moves[list(core.kept)] = 1.0
    A, B = stack.A.double(), on_B @ stack.B.double()
    A = moves * (A if on_A is None else A @ on_A)
    # A bias has the layer's own outputs; it is merged beside the delta.
    return replace(stack, A=A, B=moves * B, bias=None)


def _not_empty(basis: Float64[Tensor, "d k"]) -> Float64[Tensor, "d m"]:
    """For a layer that no adapter moves, one direction of zero: matrices without entries break."""
    return basis if basis.shape[1] else basis.new_zeros(len(basis), 1)


def _lifted(U: Float64[Tensor, "d_out p"], B: Tensor) -> Tensor:
    return (U @ B.double()).float()
