"""How much of what an input does on its own inputs is altered by a merge."""

from collections.abc import Sequence
from typing import NamedTuple

from copamerge.analysis.image import ROUNDING, Image


class Change(NamedTuple):
    """Squared norms of one input in one layer, on the space it reads from.

    With the input's delta T, its right singular vectors V and the merged delta M. Each is a sum
    over directions, so sums over layers are those of the whole model.
    """

    altered: float
    """`||(M - T) V||_F^2`"""
    image: float
    """`||M V||_F^2`"""
    own: float
    """`||T||_F^2`"""
    inner: float
    """`<M, T>`: the Frobenius inner product."""


def change(image: Image) -> Change:
    """What becomes of an input where it reads, see `interference`."""
    own = image.U * image.S
    return Change(
        altered=float((image.MV - own).square().sum()),
        image=float(image.MV.square().sum()),
        own=float(image.S.square().sum()),
        inner=float((image.MV * own).sum()),
    )


def interference(layers: Sequence[Change]) -> float | None:
    """`||(M - T) V||_F / ||T||_F` over all layers, 0 or more; None for an input of zero.

    0: on the space that the input reads from, the merge does what the input does. 1: as a merge
    that does nothing. Scale counts: `M = c T` gives `|c - 1|`. A sum of n unrelated adapters of
    one norm and rank r gives about `sqrt((n - 1) r / d_in)`, their mean about `1 - 1 / n`.

    Source: the WUDI objective (arXiv:2503.08099), which asks for a small `(M - T) T^T`, with each
    direction counted alike instead of by its singular value.
    """
    own = sum(x.own for x in layers)
    return float((sum(x.altered for x in layers) / own) ** 0.5) if own > 0 else None


def interference_rescaled(layers: Sequence[Change]) -> float | None:
    """The least `||(c M - T) V||_F / ||T||_F` over all c >= 0, one c for all layers: 0 to 1.

    What remains of `interference` when scale does not count. 0: the merge does a multiple of what
    the input does. 1: nothing like it, or no more than rounding. None for an input of zero.
    """
    own, image = sum(x.own for x in layers), sum(x.image for x in layers)
    if own <= 0:
        return None
    inner = max(0.0, sum(x.inner for x in layers))
    # Quotients first: the square of a product of tiny factors is 0 in float64.
    explained = inner / image * inner if image > ROUNDING**2 * own else 0.0
    left = own - explained
    return float(max(0.0, left / own) ** 0.5)
