"""All measured layers of some adapters, taken together."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from copamerge.analysis.conflict import cancelled, disagreement
from copamerge.analysis.entries import Entries, common_shape, shape
from copamerge.analysis.imbalance import imbalance
from copamerge.analysis.overlap import overlap, shared
from copamerge.analysis.relations import cosine
from copamerge.analysis.spectrum import effective_rank, rank_for, stable_rank
from copamerge.analyzing.copa import of_rows
from copamerge.analyzing.layer import InputOfLayer, MeasuredLayer
from copamerge.analyzing.record import (
    AnalysedAdapter,
    AnalysedCopa,
    Distribution,
    Overlap,
    Pair,
    Together,
)
from copamerge.core.adapter import Adapter
from copamerge.core.places import Place
from copamerge.methods.copa import Copa

ZERO = "its delta is zero in every layer"
NEVER_BOTH = "one of the two deltas is zero in every layer that both have"
NO_SIGNS = "no entry of both is other than zero"
NO_SHARED = "they have no layer in common"
ALONE = "fewer than two deltas are other than zero"
NEVER_TWO = "no entry of two deltas is other than zero"
SUM_ZERO = "the deltas cancel in every layer, or are all zero"


def of(layers: Sequence[MeasuredLayer], i: int) -> list[tuple[MeasuredLayer, int]]:
    """The layers of one adapter, each with its place among those that have it."""
    return [(layer, layer.present.index(i)) for layer in layers if i in layer.present]


def adapter_facts(
    i: int,
    adapter: Adapter,
    layers: Sequence[MeasuredLayer],
    places: Mapping[str, Place],
    digests: Mapping[str, str],
    share: float | None,
) -> AnalysedAdapter:
    mine = [(layer, layer.inputs[at]) for layer, at in of(layers, i)]
    energy = sum(found.energy for _, found in mine)
    biases = [t for x in adapter.layers.values() if x.has_bias for t in x.tensors[2:]]
    return AnalysedAdapter(
        adapter=adapter.label,
        revision=adapter.revision,
        format=adapter.format,
        sha256=dict(digests),
        base_model=adapter.base_model,
        task_type=adapter.config.get("task_type"),
        ranks=tuple(sorted({found.rank for _, found in mine})),
        layers=len(mine),
        tensors=adapter.n_tensors,
        not_measured=(*biases, *(saved.tensor for saved in adapter.saved.values())),
        ignored=dict(adapter.ignored),
        norm=energy**0.5,
        share=share,
        stable_rank=_weighted(mine, stable_rank),
        effective_rank=_weighted(mine, effective_rank),
        spectrum=_spectrum([found.S for _, found in mine]),
        by_module=_parts(mine, energy, lambda name: places[name].module),
        by_block=_parts(mine, energy, lambda name: places[name].block),
        A=_distribution([found.A for _, found in mine]),
        B=_distribution([found.B for _, found in mine]),
        why_null=None if energy > 0 else ZERO,
    )


def _weighted(
    mine: Sequence[tuple[MeasuredLayer, InputOfLayer]], of_S: Callable[[Tensor], float | None]
) -> float | None:
    pairs = [(found.energy, of_S(found.S)) for _, found in mine]
    total = sum(energy for energy, value in pairs if value is not None)
    if total <= 0:
        return None
    return sum(energy * value for energy, value in pairs if value is not None) / total


def _spectrum(spectra: Sequence[Tensor]) -> tuple[float, ...]:
    """Mean of sigma_k / sigma_1; a direction that a layer lacks counts as 0."""
    rows = [S / S[0] for S in spectra if len(S)]
    return tuple((_sum_of(rows) / max(len(rows), 1)).tolist())


def _multiples(rows: Sequence[Tensor]) -> tuple[float, ...]:
    """Means over the layers that have direction k: elsewhere it has no multiple, not one of 0."""
    counts = _sum_of([torch.ones_like(row) for row in rows])
    return tuple((_sum_of(rows) / counts).tolist())


def _sum_of(rows: Sequence[Tensor]) -> Tensor:
    total = torch.zeros(max(map(len, rows), default=0), dtype=torch.float64)
    for row in rows:
        total[: len(row)] += row
    return total


def _parts(
    mine: Sequence[tuple[MeasuredLayer, InputOfLayer]], total: float, name: Callable[[str], str]
) -> dict[str, float | None]:
    sums: dict[str, float] = defaultdict(float)
    for layer, found in mine:
        sums[name(layer.layer)] += found.energy
    return {key: part / total if total > 0 else None for key, part in sums.items()}


def _distribution(found: Sequence[Entries | None]) -> Distribution:
    there = [x for x in found if x is not None]
    shapes = [shape(x) for x in there]
    counts: dict[str, int] = dict(Counter(shapes))
    if missing := len(found) - len(there):
        counts["all the same"] = missing
    return Distribution(
        shape=common_shape(shapes),
        layers=dict(sorted(counts.items())),
        kurtosis=_median([x.kurtosis for x in there]),
        to_uniform=_median([x.to_uniform for x in there]),
        to_gaussian=_median([x.to_gaussian for x in there]),
    )


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


# --- pairs ---------------------------------------------------------------------------------------


class _Both(NamedTuple):
    layer: MeasuredLayer
    i: int
    j: int


def pair_facts(one: int, other: int, layers: Sequence[MeasuredLayer]) -> Pair:
    both = [
        _Both(layer, layer.present.index(one), layer.present.index(other))
        for layer in layers
        if one in layer.present and other in layer.present
    ]
    sizes = [
        sum(x.layer.inputs[at].energy for x, at in zip(both, places, strict=True)) ** 0.5
        for places in ([x.i for x in both], [x.j for x in both])
    ]
    found = [x.layer.pairs[x.i, x.j] for x in both]
    rows = [x.row_cosines for x in found if x.row_cosines is not None]
    count = sum(n for _, n in rows)
    moving = min(sizes, default=0.0) > 0
    opposite = sum(float(x.layer.conflict.opposite[x.i, x.j]) for x in both)
    signs = sum(float(x.layer.conflict.both[x.i, x.j]) for x in both)
    return Pair(
        one=one,
        other=other,
        shared_layers=len(both),
        cosine=cosine(sum(x.inner for x in found), sizes[0], sizes[1]),
        cosine_A=sum(total for total, _ in rows) / count if count else None,
        input=_overlap([(x.input, x.chance[0]) for x in found]),
        output=_overlap([(x.output, x.chance[1]) for x in found]),
        sign_conflict=opposite / signs if signs > 0 else None,
        norm_ratio=sizes[0] / sizes[1] if moving else None,
        why_null=_why_null(both, signs),
    )


def _why_null(both: Sequence[_Both], signs: float) -> str | None:
    if not both:
        return NO_SHARED
    if not any(len(x.layer.pairs[x.i, x.j].input) for x in both):
        return NEVER_BOTH
    return None if signs > 0 else NO_SIGNS


def _overlap(found: Sequence[tuple[Tensor, float]]) -> Overlap:
    there = [(cosines, chance) for cosines, chance in found if len(cosines)]
    values = [x for x in (overlap(cosines) for cosines, _ in there) if x is not None]
    return Overlap(
        mean=sum(values) / len(values) if values else None,
        chance=sum(min(1.0, chance) for _, chance in there) / len(there) if there else None,
        shared=sum(shared(cosines) for cosines, _ in there),
        of=sum(len(cosines) for cosines, _ in there),
    )


# --- all at once ---------------------------------------------------------------------------------


def together(
    layers: Sequence[MeasuredLayer], norms: Sequence[float], ranks: Sequence[int]
) -> Together:
    spectra = [layer.sum_values for layer in layers]
    energy = sum(float(S.square().sum()) for S in spectra)
    kept = {
        r: sum(float(S[:r].square().sum()) for S in spectra) / energy for r in ranks if energy > 0
    }
    ratio = imbalance(norms)
    alone = None if ratio else ALONE
    return Together(
        norm_of_sum=energy**0.5,
        imbalance=ratio,
        disagreement=disagreement([layer.conflict for layer in layers]),
        cancelled=cancelled([layer.conflict for layer in layers]),
        entries=sum(layer.d_out * layer.d_in for layer in layers),
        entries_looked_at=sum(layer.looked_at for layer in layers),
        energy=kept or None,
        rank_99=rank_for(spectra, 0.99),
        why_null=alone or _never_two(layers) if energy > 0 else SUM_ZERO,
    )


def _never_two(layers: Sequence[MeasuredLayer]) -> str | None:
    return None if any(x.conflict.several for x in layers) else NEVER_TWO


def ranks_to_look_at(layers: Sequence[MeasuredLayer]) -> tuple[int, ...]:
    """Ranks at which the sum of all adapters is looked at."""
    most = max((len(layer.sum_values) for layer in layers), default=0) or 1
    return ranks_up_to(most, [found.rank for layer in layers for found in layer.inputs])


def ranks_up_to(most: int, own: Collection[int]) -> tuple[int, ...]:
    """Powers of two, the adapters' own ranks, and the largest rank of their sum."""
    powers = [2**k for k in range(most.bit_length())]
    return tuple(sorted({r for r in {*powers, *own} if r < most} | {most}))


def copa_facts(n: int, layers: Sequence[MeasuredLayer]) -> AnalysedCopa:
    S = [[of_rows(layer.copa.S[at]) for layer, at in of(layers, i)] for i in range(n)]
    flat = [torch.cat(rows) if rows else torch.zeros(0) for rows in S]
    change = [layer.copa.change for layer in layers]
    plain = sum(x.with_y for x in change)
    scaled = sum(x.with_x for x in change)
    return AnalysedCopa(
        density=Copa().density,
        S_mean=tuple(float(x.mean()) if len(x) else None for x in flat),
        S_min=tuple(float(x.min()) if len(x) else None for x in flat),
        S_max=tuple(float(x.max()) if len(x) else None for x in flat),
        multiples=tuple(
            _multiples([layer.copa.multiples[at] for layer, at in of(layers, i)]) for i in range(n)
        ),
        multiples_without=tuple(
            _multiples([layer.copa.multiples_without[at] for layer, at in of(layers, i)])
            for i in range(n)
        ),
        change=(sum(x.apart for x in change) / plain) ** 0.5 if plain > 0 else None,
        cosine=cosine(sum(x.inner for x in change), scaled**0.5, plain**0.5),
        why_null=None if plain > 0 else "nothing is left of the deltas after pruning",
    )
