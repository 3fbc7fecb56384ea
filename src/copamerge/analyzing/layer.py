"""One layer of several adapters, measured: numbers and sums over entries, no tensor of its size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float64
from torch import Tensor

from copamerge.analysis.conflict import Conflict, conflict, entries_at
from copamerge.analysis.entries import Entries, entries
from copamerge.analysis.image import ROUNDING, image_of, svd_of
from copamerge.analysis.initialisation import row_cosines
from copamerge.analysis.overlap import principal_cosines
from copamerge.analysis.spectrum import values_of_product
from copamerge.analyzing.copa import CopaOfLayer, copa_of
from copamerge.analyzing.traces import Seen, seen
from copamerge.core.delta import LowRank
from copamerge.core.draws import Draws
from copamerge.core.lora import FactorStack
from copamerge.core.lowrank import Svd

ALL_UP_TO, SAMPLE = 2**16, 2**14
"""Entries of a layer up to which all signs are compared, and how many are drawn beyond."""


@dataclass(frozen=True, eq=False)
class InputOfLayer:
    """One adapter in one layer."""

    S: Float64[Tensor, " k"]
    rank: int
    A: Entries | None
    B: Entries | None

    @property
    def energy(self) -> float:
        return float(self.S.square().sum())


@dataclass(frozen=True, eq=False)
class PairOfLayer:
    """Two adapters in one layer; their inner product and principal cosines."""

    inner: float
    row_cosines: tuple[float, int] | None
    """None where the ranks differ."""
    input: Float64[Tensor, " k"]
    output: Float64[Tensor, " k"]
    chance: tuple[float, float]
    """Expected overlap of unrelated spaces of these sizes, of inputs and outputs."""


@dataclass(frozen=True, eq=False)
class Merged:
    """What a merge has for one layer."""

    delta: LowRank
    kept: float | None
    """Share of the method's answer that its rank holds, where that is known."""


@dataclass(frozen=True, eq=False)
class MergeOfLayer:
    """One merge in one layer: its squared norm, rank, and each adapter beside it."""

    energy: float
    rank: int
    kept: float | None
    seen: tuple[Seen, ...]


@dataclass(frozen=True, eq=False)
class MeasuredLayer:
    """Everything that is measured of one layer. Adapters are those that have it, in order."""

    layer: str
    d_out: int
    d_in: int
    present: tuple[int, ...]
    inputs: tuple[InputOfLayer, ...]
    pairs: dict[tuple[int, int], PairOfLayer]
    """By places among those that have the layer."""
    conflict: Conflict
    looked_at: int
    """Entries whose signs were compared."""
    sum_values: Float64[Tensor, " R"]
    """Singular values of the plain sum without what is rounding; none where it vanishes."""
    copa: CopaOfLayer
    merges: tuple[MergeOfLayer | None, ...]


def measured(
    stack: FactorStack, present: Sequence[int], merged: Sequence[Merged | None]
) -> MeasuredLayer:
    """Measure the adapters of one layer and what merges make of them.

    Costs QR decompositions of the factors and products of them: never a d_out x d_in matrix.
    """
    d_out, d_in = stack.B.shape[1], stack.A.shape[2]
    factors = [(stack.A[i, :r], stack.B[i, :, :r]) for i, r in enumerate(stack.ranks)]
    own = [svd_of(A, B) for A, B in factors]
    inputs = tuple(
        InputOfLayer(svd.S, r, entries(A), entries(B / scaling if scaling else B))
        for svd, r, (A, B), scaling in zip(own, stack.ranks, factors, stack.scalings, strict=True)
    )
    grams = _grams(own)
    counted, looked_at = _conflict(stack, d_out, d_in)
    return MeasuredLayer(
        layer=stack.layer,
        d_out=d_out,
        d_in=d_in,
        present=tuple(present),
        inputs=inputs,
        pairs={(i, j): _pair(stack, own, grams, i, j) for i, j in combinations(range(stack.n), 2)},
        conflict=counted,
        looked_at=looked_at,
        sum_values=_sum_values(own, grams),
        copa=copa_of(stack, [svd.S for svd in own]),
        merges=tuple(None if one is None else _merge(one, own) for one in merged),
    )


@dataclass(frozen=True, eq=False)
class _Grams:
    """Inner products between all singular vectors of all adapters, those of each in a row."""

    output: Float64[Tensor, "R R"]
    input: Float64[Tensor, "R R"]
    start: tuple[int, ...]
    """Where each adapter's begin; one more at the end."""


def _grams(own: Sequence[Svd]) -> _Grams:
    U = torch.cat([svd.U for svd in own], dim=1)
    V = torch.cat([svd.Vt for svd in own])
    start = [0]
    for svd in own:
        start.append(start[-1] + len(svd.S))
    return _Grams(U.mT @ U, V @ V.mT, tuple(start))


def _pair(stack: FactorStack, own: Sequence[Svd], grams: _Grams, i: int, j: int) -> PairOfLayer:
    rows = slice(grams.start[i], grams.start[i + 1])
    columns = slice(grams.start[j], grams.start[j + 1])
    both = grams.output[rows, columns] * grams.input[rows, columns]
    r, most = stack.ranks[i], max(len(own[i].S), len(own[j].S))
    d_out, d_in = stack.B.shape[1], stack.A.shape[2]
    return PairOfLayer(
        inner=float(own[i].S @ both @ own[j].S),
        row_cosines=row_cosines(stack.A[i, :r], stack.A[j, :r]) if stack.ranks[j] == r else None,
        input=principal_cosines(own[i].Vt.mT, own[j].Vt.mT),
        output=principal_cosines(own[i].U, own[j].U),
        chance=(most / d_in, most / d_out),
    )


def _sum_values(own: Sequence[Svd], grams: _Grams) -> Tensor:
    S = torch.cat([svd.S for svd in own])
    if not len(S):
        return S
    values = values_of_product(S[:, None] * grams.output * S, grams.input)
    # What cancels leaves rounding, which is no spectrum; nor do two that read the same add up to
    # as many directions as they have together.
    return values[values > ROUNDING * S.max()]


def _conflict(stack: FactorStack, d_out: int, d_in: int) -> tuple[Conflict, int]:
    """Signs at all entries of a small layer, at drawn ones of a large layer."""
    size = d_out * d_in
    if size <= ALL_UP_TO:
        place = torch.arange(size)
    else:
        stream = Draws(0, stack.layer).stream("", "sign conflict")
        place = torch.randint(size, (SAMPLE,), generator=stream)
    place = place.to(stack.A.device)
    found = entries_at(stack.A, stack.B, place // d_in, place % d_in)
    return conflict(found, each=size / len(place)), len(place)


def _merge(merged: Merged, own: Sequence[Svd]) -> MergeOfLayer:
    exact = LowRank(merged.delta.A.double(), merged.delta.B.double())
    energy = ((exact.B.mT @ exact.B) * (exact.A @ exact.A.mT)).sum()
    return MergeOfLayer(
        energy=max(0.0, float(energy)),
        rank=exact.rank,
        kept=merged.kept,
        seen=tuple(seen(image_of(exact, svd)) for svd in own),
    )
