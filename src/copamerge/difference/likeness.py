"""Two deltas in numbers: of one layer from its factors, of many layers from each one's numbers."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from copamerge.analysis.apart import (
    Pair,
    best_multiple,
    chance_of_cosine,
    in_common,
    pair_of,
    relative_distance,
    remainder,
    same,
    together,
)
from copamerge.analysis.image import svd_of
from copamerge.analysis.initialisation import row_cosines
from copamerge.analysis.overlap import overlap, principal_cosines
from copamerge.analysis.relations import cosine
from copamerge.core.delta import LowRank
from copamerge.core.lora import LoraModule
from copamerge.difference.record import Difference, LayerDifference, Likeness


def likeness_of(one: LoraModule, other: LoraModule, *, identical: bool) -> Likeness:
    """Two modules of one layer; `identical` says that factors and scaling are bit for bit equal."""
    a, b = one.exact(), other.exact()
    pair = same(a) if identical else pair_of(a, b)
    rows = row_cosines(one.A, other.A) if one.rank == other.rank else (0.0, 0)
    return _likeness(pair, _overlaps(a, b, pair), rows, unlike_ranks=one.rank != other.rank)


def over(layers: Sequence[LayerDifference], whole: Pair | None = None) -> Likeness:
    """Some layers as one vector; overlaps are means over those that have one.

    `whole` are all shared layers, for the share of their difference.
    """
    parts = [x.likeness for x in layers]
    n_rows = sum(x.rows_of_A for x in parts)
    found = _likeness(
        pair_over(layers),
        Overlaps(*(_mean([getattr(x, name) for x in parts]) for name in Overlaps._fields)),
        (sum((x.cosine_A or 0.0) * x.rows_of_A for x in parts), n_rows),
        unlike_ranks=any("cosine_A" in x.missing for x in parts),
        layers=len(parts),
    )
    return found if whole is None else with_share(found, whole)


def folded(found: Difference, lines: int) -> list[tuple[list[str], Likeness]]:
    """The blocks in so many lines at most: each line's blocks, and what they are as one vector.

    Neighbours of one repeated part go together; where there are more such parts than lines, those
    whose names begin alike.
    """
    whole = pair_over(found.layers)
    return [
        (run, over([x for x in found.layers if x.block in run], whole))
        for run in _runs([group.name for group in found.by_block], lines)
    ]


def _runs(blocks: Sequence[str], lines: int) -> list[list[str]]:
    parts = _alike(blocks, lambda name: name.rpartition(".")[0])
    if len(parts) > lines:
        deepest = max(name.count(".") for name in blocks)
        tries = (_alike(blocks, partial(_beginning, parts=k)) for k in range(deepest, 0, -1))
        return next((found for found in tries if len(found) <= lines), [list(blocks)])
    size = 1
    while sum(-(-len(part) // size) for part in parts) > lines:
        size += 1
    return [part[i : i + size] for part in parts for i in range(0, len(part), size)]


def _beginning(name: str, parts: int) -> str:
    return ".".join(name.split(".")[:parts])


def _alike(names: Sequence[str], key: Callable[[str], str]) -> list[list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[key(name)].append(name)
    return list(found.values())


def pair_over(layers: Sequence[LayerDifference]) -> Pair:
    return together([_pair(x.likeness) for x in layers])


def with_share(x: Likeness, whole: Pair) -> Likeness:
    """With its part in the squared distance of the whole model."""
    if whole.apart > 0:
        return x.model_copy(update={"share": (x.distance / whole.apart) ** 2})
    return x.model_copy(update={"missing": {"share": "there is no difference", **x.missing}})


class Overlaps(NamedTuple):
    input_overlap: float | None
    output_overlap: float | None
    input_chance: float | None
    output_chance: float | None


def _overlaps(a: LowRank, b: LowRank, pair: Pair) -> Overlaps:
    if not (pair.one and pair.other):
        return Overlaps(None, None, None, None)
    # Angles are the same in the small coordinates.
    one, other = (svd_of(x.A, x.B) for x in in_common(a, b))
    larger = max(len(one.S), len(other.S))
    return Overlaps(
        overlap(principal_cosines(one.Vt.mT, other.Vt.mT)),
        overlap(principal_cosines(one.U, other.U)),
        larger / a.A.shape[1],
        larger / len(a.B),
    )


def _likeness(
    pair: Pair,
    overlaps: Overlaps,
    rows: tuple[float, int],
    *,
    unlike_ranks: bool,
    layers: int = 1,
) -> Likeness:
    missing: dict[str, str] = {}
    if not (pair.one and pair.other):
        why = _why_zero(pair) if layers else "no layer is shared"
        undefined = ["cosine", "cosine_chance", "multiple", "remainder", *Overlaps._fields]
        missing |= dict.fromkeys(undefined, why)
        if not (pair.one or pair.other):
            missing["relative_distance"] = why
    elif overlaps.input_overlap is None:
        missing |= dict.fromkeys(Overlaps._fields, "in every layer one of the deltas is zero")
    total, count = rows
    if not count:
        rows_missing = "the ranks are unlike" if unlike_ranks else "all rows of an A are zero"
        missing["cosine_A"] = rows_missing if layers else "no layer is shared"
    return Likeness(
        layers=layers,
        norm_one=pair.one,
        norm_other=pair.other,
        distance=pair.apart,
        share=None,
        relative_distance=relative_distance(pair),
        cosine=cosine(pair.inner, pair.one, pair.other),
        cosine_chance=chance_of_cosine(pair),
        multiple=best_multiple(pair),
        remainder=remainder(pair),
        **overlaps._asdict(),
        cosine_A=total / count if count else None,
        rows_of_A=count,
        missing=missing,
    )


def _why_zero(pair: Pair) -> str:
    if pair.one == pair.other:
        return "both deltas are zero"
    return f"the {'first' if not pair.one else 'second'}'s delta is zero"


def _pair(x: Likeness) -> Pair:
    """The sums again, from the ratios that are written."""
    sizes = x.norm_one * x.norm_other
    return Pair(
        one=x.norm_one,
        other=x.norm_other,
        inner=(x.cosine or 0.0) * sizes,
        apart=x.distance,
        multiple=x.multiple or 0.0,
        rest=x.norm_one if x.remainder is None else x.remainder * x.norm_one,
        chance=(x.cosine_chance or 0.0) * sizes,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
