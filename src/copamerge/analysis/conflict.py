"""How often the entries of several deltas disagree in sign, and what that costs their sum."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


def entries_at(
    A: Float[Tensor, "n r d_in"],
    B: Float[Tensor, "n d_out r"],
    rows: Int64[Tensor, " m"],
    columns: Int64[Tensor, " m"],
) -> Float64[Tensor, "n m"]:
    """Entries of the deltas `B @ A` at some places, without forming the deltas."""
    return torch.einsum("nmr,nrm->nm", B[:, rows].double(), A[:, :, columns].double())


class Conflict(NamedTuple):
    """Sums over entries; those of layers add up."""

    opposite: Float64[Tensor, "n n"]
    """Entries where two deltas have opposite signs."""
    both: Float64[Tensor, "n n"]
    """Entries where neither of the two is zero."""
    mixed: float
    """Entries where both signs occur."""
    several: float
    """Entries where at least two deltas are not zero."""
    net: float
    """Sum of the magnitudes of the sum of the deltas."""
    gross: float
    """Sum of all magnitudes."""


def conflict(entries: Float64[Tensor, "n m"], each: float = 1.0) -> Conflict:
    """Count over m entries of n deltas, each standing for `each` entries of its layer."""
    sign = entries.sign()
    there = sign.abs()
    agreement, both = sign @ sign.mT, there @ there.mT
    count, total = there.sum(0), sign.sum(0).abs()
    return Conflict(
        opposite=each * (both - agreement) / 2,
        both=each * both,
        mixed=each * float((total < count).sum()),
        several=each * float((count > 1).sum()),
        net=each * float(entries.sum(0).abs().sum()),
        gross=each * float(entries.abs().sum()),
    )


def sign_conflict(counted: Conflict, one: int, other: int) -> float | None:
    """Share of entries in which two deltas have opposite signs, of those where both have one.

    0 to 1, by chance 1/2; for Gaussian entries of correlation c, `arccos(c) / pi`. None where no
    entry has both.

    Source: TIES-Merging (arXiv:2306.01708), section 3, there of trimmed task vectors.
    """
    both = float(counted.both[one, other])
    return float(counted.opposite[one, other]) / both if both > 0 else None


def disagreement(layers: Sequence[Conflict]) -> float | None:
    """Share of entries in which both signs occur, of those where two or more deltas have one.

    0 to 1, for n unrelated deltas without zeros `1 - 2^(1 - n)`. None where no entry has two.

    Source: TIES-Merging (arXiv:2306.01708), figure 4.
    """
    several = sum(x.several for x in layers)
    return sum(x.mixed for x in layers) / several if several > 0 else None


def cancelled(layers: Sequence[Conflict]) -> float | None:
    """Share of the entries' magnitude that is lost when the deltas are added: `1 - net / gross`.

    0 (all signs agree) to 1 (nothing is left); about `1 - 1 / sqrt(n)` for n unrelated Gaussian
    deltas of one norm. None for deltas of zero.
    """
    gross = sum(x.gross for x in layers)
    return max(0.0, 1 - sum(x.net for x in layers) / gross) if gross > 0 else None
