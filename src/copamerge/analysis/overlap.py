"""How far two deltas read from, or write to, the same directions."""

from math import cos, radians

import torch
from jaxtyping import Float64
from torch import Tensor


def principal_cosines(
    one: Float64[Tensor, "d k"], other: Float64[Tensor, "d m"]
) -> Float64[Tensor, " n"]:
    """Cosines of the principal angles between two spaces, the smallest angle first.

    The columns of each are orthonormal: the right singular vectors of two deltas for what they
    read, the left ones for what they write. `min(k, m)` values, 0 to 1; empty where one delta is
    zero. 1: a direction that both have. Unchanged by other bases of the two spaces. By chance
    their mean square is `max(k, m) / d`.

    Source: Bjoerck and Golub 1973, "Numerical methods for computing angles between subspaces".
    """
    cosines: Tensor = torch.linalg.svdvals(one.mT @ other).clamp(max=1.0)
    return cosines


def overlap(cosines: Float64[Tensor, " n"]) -> float | None:
    """Mean square of the principal cosines, 0 to 1: the share of the smaller space in the larger.

    1: the larger holds the smaller. 0: orthogonal. By chance about `max(k, m) / d`. None where
    one of the two is empty.

    Source: LoRA (arXiv:2106.09685), section 7.2, which calls it normalized subspace similarity.
    """
    return float(cosines.square().mean()) if len(cosines) else None


def shared(cosines: Float64[Tensor, " n"], within_degrees: float = 10.0) -> int:
    """How many directions two spaces have in common, up to an angle; by chance none."""
    # 1e-12: a direction at exactly this angle is not lost to rounding.
    return int((cosines >= cos(radians(within_degrees)) - 1e-12).sum())
