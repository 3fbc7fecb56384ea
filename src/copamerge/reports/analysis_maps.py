"""Maps of an analysis by layer: of each adapter, each pair, all together, each merge."""

from collections.abc import Callable, Sequence
from statistics import fmean

from copamerge.analyzing.record import (
    AnalysedLayer,
    Analysis,
    LayerAdapter,
    LayerEntries,
    LayerPair,
    LayerTrace,
)
from copamerge.reports import numbers
from copamerge.reports.heat import Heat, Panel, Value
from copamerge.reports.numbers import Number
from copamerge.reports.sketch import Called

MOST_PANELS = 32
"""Maps of pairs, or of adapters in merges, beyond which their means are shown instead."""

NOT_IN_IT = "the adapter has no such layer"
NOT_BOTH = "not both adapters have this layer"
NO_MERGE = "the merge, or the adapter, has no such layer"

Values = dict[str, dict[str, Value]]


def adapter_maps(record: Analysis, names: Called) -> Heat:
    """One map an adapter."""
    kinds: tuple[tuple[Number, Callable[[LayerAdapter], Value]], ...] = (
        (numbers.NORM, lambda x: x.norm),
        (numbers.SHARE, lambda x: _or(x.share, x.why_null)),
        (numbers.STABLE_RANK, lambda x: _or(x.stable_rank, x.why_null)),
        (numbers.EFFECTIVE_RANK, lambda x: _or(x.effective_rank, x.why_null)),
        (numbers.S, lambda x: _or(x.S_mean, x.why_null)),
        (numbers.KURTOSIS_A, lambda x: _kurtosis(x.A)),
        (numbers.KURTOSIS_B, lambda x: _kurtosis(x.B)),
    )
    panels = []
    for i, name in enumerate(names.adapters):
        there = [(layer.layer, x) for layer in record.layers if (x := layer.adapters[i])]
        values: Values = {n.key: {layer: of(x) for layer, x in there} for n, of in kinds}
        panels.append(Panel(name, values, absent=NOT_IN_IT))
    return _heat("of-adapters", record, [n for n, _ in kinds], panels, "layers.csv")


def pair_maps(record: Analysis, names: Called) -> Heat:
    """One map a pair; of many adapters one map each, its mean over the others."""
    kinds: tuple[tuple[Number, Callable[[LayerPair], Value]], ...] = (
        (numbers.COSINE, lambda x: _or(x.cosine, x.why_null)),
        (numbers.COSINE_A, lambda x: _or(x.cosine_A, "ranks differ, or a row is zero")),
        (numbers.INPUT, lambda x: _or(x.input_overlap, x.why_null)),
        (numbers.OUTPUT, lambda x: _or(x.output_overlap, x.why_null)),
        (numbers.SIGNS, lambda x: _or(x.sign_conflict, x.why_null)),
    )
    panels = []
    if len(record.pairs) <= MOST_PANELS:
        for pair in record.pairs:
            values: Values = {n.key: {} for n, _ in kinds}
            for layer in record.layers:
                for x in layer.pairs:
                    if (x.one, x.other) == (pair.one, pair.other):
                        for number, of in kinds:
                            values[number.key][layer.layer] = of(x)
            title = f"{names.adapters[pair.one]} and {names.adapters[pair.other]}"
            panels.append(Panel(title, values, absent=NOT_BOTH))
    else:
        for i, name in enumerate(names.adapters):
            values = {n.key: {} for n, _ in kinds}
            for layer in record.layers:
                mine = [x for x in layer.pairs if i in (x.one, x.other)]
                for number, of in kinds if mine else ():
                    values[number.key][layer.layer] = _mean([of(x) for x in mine])
            panels.append(Panel(f"{name} and the others, mean", values, absent=NOT_BOTH))
    return _heat("of-pairs", record, [n for n, _ in kinds], panels, "layer_pairs.csv")


def set_maps(record: Analysis) -> Heat:
    """One map: all adapters together."""
    rank = rank_asked(record)
    energy = numbers.ENERGY.called("energy", f"Energy held by rank {rank}")
    none = "fewer than two adapters move this layer"
    kinds: list[tuple[Number, Callable[[AnalysedLayer], Value]]] = [
        (energy, lambda x: _energy(x, rank)),
    ]
    if len(record.adapters) > 1:
        kinds = [
            (numbers.CANCELLED, lambda x: _or(x.cancelled, "the deltas are zero in this layer")),
            (numbers.DISAGREEMENT, lambda x: _or(x.disagreement, none)),
            (numbers.IMBALANCE, lambda x: _or(x.imbalance, none)),
            *kinds,
            (numbers.CHANGE, lambda x: _or(x.copa_change, "pruning leaves nothing of this layer")),
        ]
    values: Values = {n.key: {x.layer: of(x) for x in record.layers} for n, of in kinds}
    title = "All adapters" if len(record.adapters) > 1 else "The adapter"
    return _heat("of-all", record, [n for n, _ in kinds], [Panel(title, values)], "layers.csv")


def merge_maps(record: Analysis, names: Called) -> Heat:
    """One map for each adapter in each merge; of many one for each merge, its mean."""
    kinds: tuple[tuple[Number, Callable[[LayerTrace], Value]], ...] = (
        (numbers.KEPT, lambda x: _or(x.trace.preserved_energy, x.why_null)),
        (numbers.ANGLE, lambda x: x.angles[0] if x.angles else _or(None, x.why_null)),
        (numbers.GAIN, lambda x: _or(x.trace.gain, x.why_null)),
        (numbers.TO_MERGE, lambda x: _or(x.trace.cosine, x.why_null)),
        (numbers.INTERFERENCE, lambda x: _or(x.trace.interference, x.why_null)),
        (numbers.RESCALED, lambda x: _or(x.trace.interference_rescaled, x.why_null)),
    )
    n = len(record.adapters)
    there = [(k, name) for k, name in enumerate(names.merges) if record.merges[k].traces]
    panels = []
    for k, merge in there:
        traces = [
            (layer.layer, [x for x in row if x is not None])
            for layer in record.layers
            if (row := layer.merges[k]) is not None
        ]
        if len(there) * n > MOST_PANELS:
            values: Values = {
                number.key: {layer: _mean([of(x) for x in row]) for layer, row in traces if row}
                for number, of in kinds
            }
            panels.append(Panel(merge, values, absent=NO_MERGE))
            continue
        for i, name in enumerate(names.adapters):
            mine = {
                layer.layer: x
                for layer in record.layers
                if (row_of := layer.merges[k]) is not None and (x := row_of[i]) is not None
            }
            values = {
                number.key: {layer: of(x) for layer, x in mine.items()} for number, of in kinds
            }
            panels.append(Panel(name, values, group=merge, absent=NO_MERGE))
    return _heat("of-merges", record, [x for x, _ in kinds], panels, "layer_merges.csv")


def rank_asked(record: Analysis) -> int:
    """The largest rank of an adapter: what a server that takes the adapters takes.

    Of one adapter the largest rank below, as its own holds all of it.
    """
    own = max((rank for one in record.adapters for rank in one.ranks), default=1)
    below = [rank for rank in record.together.energy or {} if rank < own]
    return max(below, default=own) if len(record.adapters) == 1 else own


def _heat(
    key: str, record: Analysis, kinds: Sequence[Number], panels: Sequence[Panel], file: str
) -> Heat:
    measures = tuple(
        number.measure(
            value
            for panel in panels
            for value in panel.values.get(number.key, {}).values()
            if not isinstance(value, str)
        )
        for number in kinds
    )
    layers = tuple(layer.layer for layer in record.layers)
    elsewhere = f"The numbers are in tables/{file} of the analysis."
    return Heat(key, layers, measures, tuple(panels), elsewhere)


def _or(value: float | None, why: str | None) -> Value:
    return (why or "there is no such number here") if value is None else value


def _kurtosis(found: LayerEntries | None) -> Value:
    return "all entries are the same" if found is None else found.kurtosis


def _energy(layer: AnalysedLayer, rank: int) -> Value:
    if layer.energy is None:
        return "the deltas cancel in this layer, or are all zero"
    # Ranks above all of a layer hold all of it.
    return layer.energy.get(rank, 1.0)


def _mean(found: Sequence[Value]) -> Value:
    """Over what there is; the first reason where there is nothing."""
    there = [x for x in found if not isinstance(x, str)]
    return fmean(there) if there else found[0]
