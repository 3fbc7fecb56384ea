"""One measured layer as a row of the record."""

from collections.abc import Sequence
from math import acos, degrees

import torch

from copamerge.analysis.conflict import cancelled, disagreement, sign_conflict
from copamerge.analysis.directions import Directions
from copamerge.analysis.entries import Entries, shape
from copamerge.analysis.image import ROUNDING
from copamerge.analysis.imbalance import imbalance
from copamerge.analysis.overlap import overlap, shared
from copamerge.analysis.relations import cosine
from copamerge.analysis.spectrum import effective_rank, energy_at, stable_rank
from copamerge.analyzing.copa import of_rows
from copamerge.analyzing.layer import InputOfLayer, MeasuredLayer, MergeOfLayer
from copamerge.analyzing.record import (
    AnalysedLayer,
    LayerAdapter,
    LayerEntries,
    LayerPair,
    LayerTrace,
)
from copamerge.analyzing.traces import Seen, trace
from copamerge.core.places import Place

LEADING = 16
"""Singular values and directions of each adapter in each layer that the record holds, at most."""

ZERO = "its delta is zero in this layer"
ALONE = "fewer than two deltas are other than zero in this layer"
NO_SIGNS = "no entry of both is other than zero in this layer"
SUM_ZERO = "the deltas cancel in this layer, or are all zero"


def layer_row(
    layer: MeasuredLayer,
    place: Place,
    totals: Sequence[float],
    ranks: Sequence[int],
    within_degrees: float,
) -> AnalysedLayer:
    """`totals` are the adapters' energies over all layers; `ranks` those to look at for the sum."""
    n = len(totals)
    adapters: list[LayerAdapter | None] = [None] * n
    for at, i in enumerate(layer.present):
        S = of_rows(layer.copa.S[at])
        S_mean = float(S.mean()) if len(S) else None
        adapters[i] = _adapter(layer.inputs[at], S_mean, totals[i])
    energy = {r: energy_at(layer.sum_values, r) for r in ranks}
    vanishes = all(share is None for share in energy.values())
    change = layer.copa.change
    return AnalysedLayer(
        layer=layer.layer,
        block=place.block,
        module=place.module,
        d_out=layer.d_out,
        d_in=layer.d_in,
        adapters=tuple(adapters),
        pairs=tuple(_pair(layer, i, j) for i, j in layer.pairs),
        imbalance=imbalance([x.energy**0.5 for x in layer.inputs]),
        disagreement=disagreement([layer.conflict]),
        cancelled=cancelled([layer.conflict]),
        energy=None if vanishes else {r: x for r, x in energy.items() if x is not None},
        copa_change=(change.apart / change.with_y) ** 0.5 if change.with_y > 0 else None,
        merges=tuple(_merge(layer, merge, n, within_degrees) for merge in layer.merges),
        why_null=_why_null(layer, vanishes),
    )


def _why_null(layer: MeasuredLayer, vanishes: bool) -> str | None:
    why = []
    if sum(1 for x in layer.inputs if x.energy > 0) < 2:
        why.append(ALONE)
    elif not layer.conflict.several:
        why.append("no entry of two deltas is other than zero")
    if vanishes:
        why.append(SUM_ZERO)
    if not layer.copa.change.with_y > 0:
        why.append("nothing is left of the deltas after pruning")
    return "; ".join(why) or None


def _adapter(found: InputOfLayer, S_mean: float | None, total: float) -> LayerAdapter:
    return LayerAdapter(
        norm=found.energy**0.5,
        share=found.energy / total if total > 0 else None,
        rank=found.rank,
        sigma=tuple(found.S[:LEADING].tolist()),
        stable_rank=stable_rank(found.S),
        effective_rank=effective_rank(found.S),
        A=_entries(found.A),
        B=_entries(found.B),
        S_mean=S_mean,
        why_null=None if len(found.S) else ZERO,
    )


def _entries(found: Entries | None) -> LayerEntries | None:
    if found is None:
        return None
    return LayerEntries(
        shape=shape(found),
        sd=found.sd,
        kurtosis=found.kurtosis,
        to_uniform=found.to_uniform,
        to_gaussian=found.to_gaussian,
    )


def _pair(layer: MeasuredLayer, i: int, j: int) -> LayerPair:
    pair = layer.pairs[i, j]
    sizes = [layer.inputs[k].energy ** 0.5 for k in (i, j)]
    signs = sign_conflict(layer.conflict, i, j)
    why = None if signs is not None else NO_SIGNS
    cosines = pair.row_cosines
    return LayerPair(
        one=layer.present[i],
        other=layer.present[j],
        cosine=cosine(pair.inner, *sizes),
        cosine_A=cosines[0] / cosines[1] if cosines and cosines[1] else None,
        input_overlap=overlap(pair.input),
        output_overlap=overlap(pair.output),
        input_shared=shared(pair.input),
        output_shared=shared(pair.output),
        sign_conflict=signs,
        why_null=why if min(sizes) > 0 else "one of the two deltas is zero in this layer",
    )


def _merge(
    layer: MeasuredLayer, merge: MergeOfLayer | None, n: int, within_degrees: float
) -> tuple[LayerTrace | None, ...] | None:
    if merge is None:
        return None
    found: list[LayerTrace | None] = [None] * n
    # Less than rounding is nothing: a cosine to it would be one of noise, of the largest input's.
    largest = max(one.change.own for one in merge.seen)
    norm = merge.energy**0.5 if merge.energy > ROUNDING**2 * largest else 0.0
    for i, one in zip(layer.present, merge.seen, strict=True):
        found[i] = _trace(one, norm, within_degrees)
    return tuple(found)


def _trace(one: Seen, norm: float, within_degrees: float) -> LayerTrace:
    why = None
    if not len(one.directions.sigma):
        why = ZERO
    elif norm <= 0:
        why = "the merge is zero in this layer"
    return LayerTrace(
        trace=trace([one], norm, within_degrees),
        angles=tuple(angles(one.directions)[:LEADING]),
        gains=tuple(one.directions.gain[:LEADING].tolist()),
        why_null=why,
    )


def angles(found: Directions) -> list[float]:
    """Degrees, 0 to 180; 90 where nothing is left of a direction."""
    return [degrees(acos(c)) for c in torch.clamp(found.cosine, -1, 1).tolist()]
