"""Tables of an analysis: adapters, pairs, merges, every layer; each heading says what it means."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from copamerge.analyzing.record import AnalysedLayer, AnalysedMerge, Analysis, Distribution, Overlap
from copamerge.analyzing.traces import Trace
from copamerge.reports import numbers
from copamerge.reports.analysis_maps import rank_asked
from copamerge.reports.document import flat, fold, number_cell, sortable, word_cell
from copamerge.reports.merge_section import options
from copamerge.reports.numbers import Number
from copamerge.reports.sketch import MOST, Called
from copamerge.reports.tables import MISSING

NONE = "it takes no part, or one of the two is zero"
TRACES: tuple[tuple[Number, str], ...] = (
    (numbers.KEPT, "preserved_energy"),
    (numbers.PRESERVED, "preserved"),
    (numbers.GAIN, "gain"),
    (numbers.TO_MERGE, "cosine"),
    (numbers.INTERFERENCE, "interference"),
    (numbers.RESCALED, "interference_rescaled"),
)
"""What is said of an adapter in a merge."""

Head = tuple[str, str]
"""A heading and what it means."""


def adapters_table(record: Analysis, names: Called) -> str:
    heads = [
        ("Adapter", "As it was called; its whole name is shown on hover"),
        ("Layers", "Layers that it adapts"),
        ("Rank", "Ranks that occur among its layers"),
        *map(head, (numbers.NORM, numbers.SHARE, numbers.STABLE_RANK, numbers.EFFECTIVE_RANK)),
        ("Entries of A", numbers.SHAPE.explains),
        head(numbers.KURTOSIS_A),
        ("Entries of B", numbers.SHAPE.explains),
        head(numbers.KURTOSIS_B),
        head(numbers.S),
    ]
    rows = []
    for name, one, S in zip(names.adapters, record.adapters, record.copa.S_mean, strict=True):
        why = one.why_null or ""
        ranks = ", ".join(map(str, one.ranks)) or MISSING
        rows.append(
            [
                named(name, one.adapter),
                number_cell(one.layers, str(one.layers)),
                number_cell(max(one.ranks, default=None), ranks, "it has no layer"),
                numbers.NORM.cell(one.norm),
                numbers.SHARE.cell(one.share, "all deltas are zero"),
                numbers.STABLE_RANK.cell(one.stable_rank, why),
                numbers.EFFECTIVE_RANK.cell(one.effective_rank, why),
                _shape(one.A),
                numbers.KURTOSIS_A.cell(one.A.kurtosis, "all entries are the same"),
                _shape(one.B),
                numbers.KURTOSIS_B.cell(one.B.kurtosis, "all entries are the same"),
                numbers.S.cell(S, "it has no layer"),
            ]
        )
    return _table(heads, rows, "In the command's order. A click on a heading sorts.")


def pairs_table(record: Analysis, names: Called) -> str:
    parts = (numbers.COSINE, numbers.COSINE_A, numbers.INPUT)
    heads = [
        ("Pair", "Two adapters"),
        ("Layers", "Layers that both adapt"),
        *map(head, parts),
        ("in common", f"Of what is read. {numbers.SHARED.explains}"),
        head(numbers.OUTPUT),
        ("in common ", f"Of what is written. {numbers.SHARED.explains}"),
        head(numbers.SIGNS),
        head(numbers.RATIO),
    ]
    rows = []
    for pair in record.pairs:
        why = pair.why_null or ""
        rows.append(
            [
                f'<th scope="row">{flat(names.adapters[pair.one])} and '
                f"{flat(names.adapters[pair.other])}</th>",
                number_cell(pair.shared_layers, str(pair.shared_layers)),
                numbers.COSINE.cell(pair.cosine, why),
                numbers.COSINE_A.cell(pair.cosine_A, why or "no layer has equal ranks"),
                _overlap(numbers.INPUT, pair.input, why),
                _common(pair.input, why),
                _overlap(numbers.OUTPUT, pair.output, why),
                _common(pair.output, why),
                numbers.SIGNS.cell(pair.sign_conflict, why),
                numbers.RATIO.cell(pair.norm_ratio, why),
            ]
        )
    return _table(heads, rows, "Over all layers that both adapt. By chance in grey.")


def _overlap(number: Number, found: Overlap, why: str) -> str:
    if found.mean is None:
        return number.cell(None, why)
    chance = "" if found.chance is None else f" <small>{flat(number.shown(found.chance))}</small>"
    cell = number.cell(found.mean)
    return cell.replace("</td>", f"{chance}</td>")


def _common(found: Overlap, why: str) -> str:
    return number_cell(found.shared if found.of else None, f"{found.shared} of {found.of}", why)


def merges_table(record: Analysis, names: Called) -> str:
    """Methods beside each other, each as the mean over adapters."""
    heads = [
        ("Merge", "A method, or a folder"),
        ("Rank", "The largest of a layer"),
        head(numbers.RANK_KEPT),
        head(numbers.SIZE),
        *map(head, (number for number, _ in TRACES)),
        ("Least kept", "The adapter with the least energy in kept directions"),
    ]
    rows = []
    for name, merge in zip(names.merges, record.merges, strict=True):
        why = f"no merge: {merge.failed}" if merge.failed else NONE
        kept = why if merge.failed else "only a method in memory says it"
        rows.append(
            [
                named(name, merge.name),
                number_cell(merge.rank, str(merge.rank), why),
                numbers.RANK_KEPT.cell(merge.energy_kept, kept),
                numbers.SIZE.cell(merge.norm_ratio, why),
                *(number.cell(_mean(merge.traces, field), why) for number, field in TRACES),
                _least(merge, names, why),
            ]
        )
    return _table(
        heads,
        rows,
        "Means over adapters. What a merge keeps of its adapters is not yet how well it answers: "
        "`copamerge bench` and `copamerge evaluate` measure that.".replace("`", ""),
    )


def methods_list(record: Analysis, names: Called) -> str:
    """The options of each merge, where they are known."""
    said = [
        f"{name}: {merge.method.get('name')}, {options(merge.method) or 'no options'}"
        for name, merge in zip(names.merges, record.merges, strict=True)
        if merge.method
    ]
    items = "".join(f"<li>{flat(text)}</li>" for text in said)
    return fold("Options of the methods", f'<ul class="notes">{items}</ul>') if said else ""


def _least(merge: AnalysedMerge, names: Called, why: str) -> str:
    there = [
        (x.preserved_energy, name)
        for x, name in zip(merge.traces, names.adapters, strict=False)
        if x.preserved_energy is not None
    ]
    if len(there) < 2:
        return f'<td class="word" title="{flat(why)}">{MISSING}</td>'
    least, who = min(there)
    return word_cell(f"{who}, {numbers.KEPT.shown(least)}")


def traces_table(record: Analysis, names: Called) -> str:
    """Every adapter in every merge."""
    heads = [
        ("Merge", "A method, or a folder"),
        ("Adapter", "What is looked for in the merge"),
        *map(head, (number for number, _ in TRACES)),
    ]
    rows = []
    for merge, found in zip(names.merges, record.merges, strict=True):
        for name, one in zip(names.adapters, found.traces, strict=False):
            rows.append(
                [
                    f'<th scope="row">{flat(merge)}</th>',
                    word_cell(name),
                    *(number.cell(getattr(one, field), NONE) for number, field in TRACES),
                ]
            )
    return _table(heads, rows, "A row for each adapter in each merge. A click on a heading sorts.")


def layers_table(record: Analysis, names: Called) -> str:
    """Every layer as a row: norms, all together, means over pairs and over adapters in merges."""
    n, rank = len(record.adapters), rank_asked(record)
    each = range(n) if n <= MOST else range(0)
    merges = [k for k, merge in enumerate(record.merges) if merge.traces][:MOST]
    heads = [("Layer", "Its name in the base model"), ("Shape", "d_out × d_in")]
    heads += [(f"Norm of {names.adapters[i]}", numbers.NORM.explains) for i in each]
    if n > 1:
        some = (numbers.COSINE, numbers.INPUT, numbers.OUTPUT, numbers.SIGNS)
        heads += [(f"{x.title}, mean", f"Mean over pairs. {x.explains}") for x in some]
        heads += [head(x) for x in (numbers.IMBALANCE, numbers.CANCELLED)]
    heads += [(f"Energy held by rank {rank}", numbers.ENERGY.explains)]
    heads += [head(numbers.CHANGE)] if n > 1 else []
    heads += [
        (f"Kept by {names.merges[k]}", f"Mean over adapters. {numbers.KEPT.explains}")
        for k in merges
    ]
    rows = []
    for layer in record.layers:
        row = [f'<th scope="row">{flat(layer.layer)}</th>']
        row.append(f'<td data-sort="{layer.d_out * layer.d_in}">{layer.d_out} × {layer.d_in}</td>')
        for i in each:
            one = layer.adapters[i]
            row.append(numbers.NORM.cell(one.norm if one else None, "it has no such layer"))
        if n > 1:
            row += _of_pairs(layer)
            row.append(numbers.IMBALANCE.cell(layer.imbalance, "fewer than two adapters move it"))
            row.append(numbers.CANCELLED.cell(layer.cancelled, "the deltas are zero"))
        held = None if layer.energy is None else layer.energy.get(rank, 1.0)
        row.append(numbers.ENERGY.cell(held, "the deltas cancel, or are all zero"))
        if n > 1:
            row.append(numbers.CHANGE.cell(layer.copa_change, "pruning leaves nothing"))
        for k in merges:
            traces = [x.trace for x in layer.merges[k] or () if x is not None]
            row.append(numbers.KEPT.cell(_mean(traces, "preserved_energy"), NONE))
        rows.append(row)
    caption = "More of every layer is in the maps above, and in tables/layers.csv of the analysis."
    return fold(f"All {len(rows)} layers as a table", _table(heads, rows, caption))


def _of_pairs(layer: AnalysedLayer) -> list[str]:
    why = "fewer than two adapters move this layer"
    fields = (
        (numbers.COSINE, "cosine"),
        (numbers.INPUT, "input_overlap"),
        (numbers.OUTPUT, "output_overlap"),
        (numbers.SIGNS, "sign_conflict"),
    )
    return [
        number.cell(_mean_of(getattr(pair, field) for pair in layer.pairs), why)
        for number, field in fields
    ]


def ranks_table(record: Analysis) -> str:
    """How much of the plain sum a rank can hold."""
    found = record.together.energy or {}
    rows = [
        [f'<th scope="row" data-sort="{rank}">{rank}</th>', numbers.ENERGY.cell(share)]
        for rank, share in sorted(found.items())
    ]
    heads = [("Rank", "One for all layers"), head(numbers.ENERGY)]
    return _table(heads, rows, "Share of the plain sum's energy that its best approximation holds")


def head(number: Number) -> Head:
    return number.title, number.explains


def _table(heads: Sequence[Head], rows: Sequence[Sequence[str]], caption: str) -> str:
    return sortable(
        [title for title, _ in heads],
        [f"<tr>{''.join(row)}</tr>" for row in rows],
        caption,
        hovers=[means for _, means in heads],
    )


def named(name: str, full: str) -> str:
    return f'<th scope="row" title="{flat(full)}">{flat(name)}</th>'


def _shape(found: Distribution) -> str:
    counts = ", ".join(f"{shape}: {count}" for shape, count in found.layers.items())
    return f'<td class="word" title="Layers: {flat(counts)}">{flat(found.shape or MISSING)}</td>'


def _mean(traces: Iterable[Trace], field: str) -> float | None:
    return _mean_of(getattr(one, field) for one in traces)


def _mean_of(found: Iterable[float | None]) -> float | None:
    there = [x for x in found if x is not None]
    return fmean(there) if there else None
