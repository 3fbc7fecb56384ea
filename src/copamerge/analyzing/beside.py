"""One merge beside the adapters, over all layers."""

from collections.abc import Sequence
from statistics import fmean

import torch

from copamerge.analysis.image import ROUNDING
from copamerge.analyzing.layer import MeasuredLayer
from copamerge.analyzing.merges import Merge
from copamerge.analyzing.record import AnalysedMerge, DirectionSummary, Quartiles
from copamerge.analyzing.rows import angles
from copamerge.analyzing.traces import Seen, trace
from copamerge.analyzing.whole import of


def merge_facts(
    k: int,
    merge: Merge,
    n: int,
    layers: Sequence[MeasuredLayer],
    norms: Sequence[float],
    within_degrees: float,
) -> AnalysedMerge:
    failed = merge.failed
    there = [] if failed else [x for layer in layers if (x := layer.merges[k]) is not None]
    energy = sum(x.energy for x in there)
    # Less than rounding is nothing: a cosine to it would be one of noise.
    norm = energy**0.5 if energy**0.5 > ROUNDING * max(norms) else 0.0
    moving = [x for x in norms if x > 0]
    seen = [
        [x.seen[at] for layer, at in of(layers, i) if (x := layer.merges[k]) is not None]
        for i in range(n if there else 0)
    ]
    kept = [(x.energy, x.kept) for x in there if x.kept]
    whole = sum(part / share for part, share in kept)
    return AnalysedMerge(
        name=merge.name,
        source=merge.source,
        method=merge.method,
        failed=failed,
        rank=max((x.rank for x in there), default=None),
        energy_kept=sum(part for part, _ in kept) / whole if whole > 0 else merge.energy_kept,
        norm=norm if there else None,
        norm_ratio=norm / fmean(moving) if there and moving else None,
        traces=tuple(trace(found, norm, within_degrees) for found in seen),
        by_direction=tuple(_by_direction(found) for found in seen),
        notices=merge.notices,
    )


def _by_direction(found: Sequence[Seen]) -> tuple[DirectionSummary, ...]:
    turned = [(angles(x.directions), x.directions.gain.tolist()) for x in found]
    summaries = []
    for k in range(max((len(a) for a, _ in turned), default=0)):
        there = [(a[k], g[k]) for a, g in turned if len(a) > k]
        summaries.append(
            DirectionSummary(
                angle=_quartiles([a for a, _ in there]), gain=_quartiles([g for _, g in there])
            )
        )
    return tuple(summaries)


def _quartiles(values: Sequence[float]) -> Quartiles:
    points = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, middle, high = torch.tensor(values, dtype=torch.float64).quantile(points).tolist()
    return Quartiles(low=low, median=middle, high=high)
