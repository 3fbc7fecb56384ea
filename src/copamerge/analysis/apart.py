"""How far two deltas are apart, as they are and up to a multiple."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.core.delta import LowRank

FAINT = 1e-100
"""A norm up to this is zero: no factor of float32 makes a smaller one, its square has none left."""


class Pair(NamedTuple):
    """Two deltas a and b as vectors, of one layer or of many layers at once."""

    one: float
    """`||a||_F`"""
    other: float
    """`||b||_F`"""
    inner: float
    """`<a, b>`: the Frobenius inner product."""
    apart: float
    """`||a - b||_F`"""
    multiple: float
    """The c for which `||a - c b||_F` is least; 0 where b is zero."""
    rest: float
    """`||a - c b||_F` with that c."""
    chance: float
    """Root mean square of `<a, b>` over all turns of one of the two, on its sides in each layer:
    `||a||_F ||b||_F / sqrt(d_out d_in)` for one layer."""


def in_common(one: LowRank, other: LowRank) -> tuple[LowRank, LowRank]:
    """Two deltas of one shape in orthonormal coordinates of the spaces that they span together.

    Each side has as many coordinates as both have factors, or fewer. Lengths, angles, singular
    values and overlaps are those of the deltas, to rounding in float64 of the longer one.
    """
    A = torch.cat([one.A, other.A]).double()
    B = torch.cat([one.B, other.B], dim=1).double()
    R_A = torch.linalg.qr(A.mT, mode="r").R.mT
    R_B = torch.linalg.qr(B, mode="r").R
    r = one.rank
    return LowRank(R_A[:r], R_B[:, :r]), LowRank(R_A[r:], R_B[:, r:])


def pair_of(one: LowRank, other: LowRank) -> Pair:
    """Two deltas of one layer, neither of them formed.

    The difference is taken of coordinates, not of squared norms, which would keep half the digits
    of a small one.
    """
    a, b = in_common(one, other)
    return pair_of_values(a.B @ a.A, b.B @ b.A, size=len(one.B) * one.A.shape[1])


def pair_of_values(
    a: Float64[Tensor, " *dims"], b: Float64[Tensor, " *dims"], size: int | None = None
) -> Pair:
    """Two vectors or matrices as they are; `size` is the number of entries that they stand for."""
    norm_a, norm_b = _norm(a), _norm(b)
    inner = float((a * b).sum()) if norm_a and norm_b else 0.0
    c = inner / norm_b / norm_b if norm_b else 0.0
    return Pair(
        one=norm_a,
        other=norm_b,
        inner=inner,
        apart=_norm(a - b),
        multiple=c,
        rest=_norm(a - c * b),
        chance=norm_a * norm_b / math.sqrt(a.numel() if size is None else size),
    )


def same(one: LowRank) -> Pair:
    """A delta beside itself: without the rounding that a computation would find."""
    a, _ = in_common(one, one)
    norm = _norm(a.B @ a.A)
    size = len(one.B) * one.A.shape[1]
    c = 1.0 if norm else 0.0
    return Pair(norm, norm, norm * norm, 0.0, c, 0.0, norm * norm / math.sqrt(size))


def together(pairs: Sequence[Pair]) -> Pair:
    """Several layers as one vector, with one multiple for all of them.

    What is left of a layer at another multiple than its own is
    `rest^2 + (c_layer - c)^2 ||b||^2`: a sum, so that a small one keeps its digits.
    """
    other = _length(x.other for x in pairs)
    inner = math.fsum(x.inner for x in pairs)
    apart = _length(x.apart for x in pairs)
    c = inner / other / other if other else 0.0
    if other and apart == 0.0:  # nothing was rounded: neither is this
        c = 1.0
    rests = [part for x in pairs for part in (x.rest, (x.multiple - c) * x.other)]
    return Pair(
        one=_length(x.one for x in pairs),
        other=other,
        inner=inner,
        apart=apart,
        multiple=c,
        rest=_length(rests),
        chance=_length(x.chance for x in pairs),
    )


def relative_distance(pair: Pair) -> float | None:
    """`||a - b||_F / max(||a||_F, ||b||_F)`, 0 to 2; None where both are zero.

    0: equal. 1: one of them is zero, or next to the other. 2: opposite and of one norm. Unrelated
    deltas of norms p >= q have about `sqrt(1 + (q / p)^2)`, 1.41 at one norm. The same whichever
    comes first.

    Source: the usual relative error, over the larger of the two because neither is the true one.
    """
    larger = max(pair.one, pair.other)
    return min(2.0, pair.apart / larger) if larger > 0 else None


def best_multiple(pair: Pair) -> float | None:
    """The c for which `||a - c b||_F` is least: `<a, b> / ||b||_F^2`, any sign.

    None where one of them is zero. About 0 for unrelated deltas, with a spread of
    `||a|| / ||b|| / sqrt(d_out d_in)`; a copy of twice the scaling has 2 or 1/2.

    Source: least squares in one unknown.
    """
    return pair.multiple if pair.one > 0 and pair.other > 0 else None


def remainder(pair: Pair) -> float | None:
    """What is left of a without the best multiple of b: `||a - c b||_F / ||a||_F`, 0 to 1.

    0: one is a multiple of the other. 1: nothing in common. It is the sine of the angle between
    them, so the same whichever comes first; unlike `sqrt(1 - cosine^2)` it is exact where small.
    None where one of them is zero. Unrelated: 1 but for about `1 / (2 d_out d_in)`.
    """
    return min(1.0, pair.rest / pair.one) if pair.one > 0 and pair.other > 0 else None


def chance_of_cosine(pair: Pair) -> float | None:
    """Root mean square of the cosine if one of the two were turned at random in every layer.

    `1 / sqrt(d_out d_in)` for one layer, more for several of which few hold all the energy. None
    where one of them is zero.
    """
    return pair.chance / pair.one / pair.other if pair.one > 0 and pair.other > 0 else None


def _norm(x: Float64[Tensor, " *dims"]) -> float:
    norm = float(torch.linalg.vector_norm(x))
    return norm if norm > FAINT else 0.0


def _length(parts: Iterable[float]) -> float:
    return math.sqrt(math.fsum(x * x for x in parts))
