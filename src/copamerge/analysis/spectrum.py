"""How the energy of a delta spreads over its singular values."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float64
from torch import Tensor


def stable_rank(S: Float64[Tensor, " k"]) -> float | None:
    """`||delta||_F^2 / ||delta||_2^2`: how many directions of the leading one's size it amounts to.

    1 (one direction holds all) to k (all alike); None for a delta of zero. Random factors of rank
    r, `r << d`, are near r. Unchanged by scale and by other factors of the same delta.

    Source: Rudelson and Vershynin 2007, "Sampling from large matrices", arXiv:math/0503442.
    """
    if not len(S) or float(S[0]) <= 0:
        return None
    return float((S / S[0]).square().sum())


def effective_rank(S: Float64[Tensor, " k"]) -> float | None:
    """`exp(-sum p log p)` with `p = S / sum(S)`: how many directions the values spread over.

    1 to k, never less than `stable_rank`; None for a delta of zero. Weak directions count more
    than there. Random factors of rank r, `r << d`, are near r.

    Source: Roy and Vetterli 2007, "The effective rank", EUSIPCO.
    """
    if not len(S) or float(S[0]) <= 0:
        return None
    p = S[S > 0] / S.sum()
    return float(torch.exp(-(p * p.log()).sum()))


def energy_at(S: Float64[Tensor, " k"], rank: int) -> float | None:
    """Share of the squared norm that the best approximation of this rank keeps, 0 to 1.

    None for a delta of zero. Of k equal values, `rank / k`.

    Source: Eckart and Young 1936.
    """
    energy = S.square()
    total = float(energy.sum())
    return min(1.0, float(energy[:rank].sum()) / total) if total > 0 else None


def rank_for(layers: Sequence[Float64[Tensor, " _"]], share: float) -> int | None:
    """The smallest rank, one for all layers, that keeps `share` of their energy together.

    None if all are zero. A share of 1 asks for the numerical rank.
    """
    longest = max(map(len, layers), default=0)
    total = sum(float(S.square().sum()) for S in layers)
    if total <= 0:
        return None
    gains = [
        sum(float(S[k].square()) for S in layers if len(S) > k) / total for k in range(longest)
    ]
    # 1e-12: what rounding leaves of the last directions is not asked for.
    held = accumulate(gains)
    return next((k + 1 for k, kept in enumerate(held) if kept >= share - 1e-12), longest)


def values_of_product(
    gram_B: Float64[Tensor, "R R"], gram_A: Float64[Tensor, "R R"]
) -> Float64[Tensor, " R"]:
    """Singular values of `B @ A` from `B^T B` and `A A^T`, largest first.

    With the adapters' factors side by side, `B @ A` is the sum of their deltas, and this costs
    R^3 whatever the layer's size. Values are exact to 1e-7 of the largest adapter's: Gram matrices
    hold half the digits. Shares of energy, which are squares, lose nothing by it, unless the
    adapters cancel.
    """
    root_B, root_A = _root(gram_B), _root(gram_A)
    values: Tensor = torch.linalg.svdvals(root_B @ root_A.mT)
    return values


def _root(gram: Float64[Tensor, "R R"]) -> Float64[Tensor, "R R"]:
    """Some R with `R^T R` the Gram matrix."""
    values, vectors = torch.linalg.eigh(gram)
    root: Tensor = values.clamp(min=0).sqrt()[:, None] * vectors.mT
    return root
