"""A merge layer by layer: maps, a table, and the same for a spreadsheet."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence

from copamerge.merging.report import LayerReport
from copamerge.reports.document import fold, name_cell, number_cell, sortable, word_cell
from copamerge.reports.heat import Heat, Panel, Value
from copamerge.reports.merges import Merge
from copamerge.reports.scale import Measure
from copamerge.reports.spreadsheet import harmless

KEPT = Measure(
    "kept",
    "Energy kept by the rank",
    "Share of the squared norm of the method's answer that the written rank holds: 100 % where "
    "nothing was cut.",
    unit="%",
    high=1.0,
)
COSINE = Measure(
    "cosine",
    "Cosine to the merge",
    "How far the merge goes in the adapter's direction: −1 to 1, about 0 for unrelated deltas; "
    "the mean of N unrelated ones of equal norm has 1/√N with each.",
    scale="diverging",
    low=-1.0,
    high=1.0,
)
NORM = Measure(
    "norm",
    "Norm of the delta",
    "Frobenius norm, with the scaling and before weights: 0 and up. The merge's is of what was "
    "written.",
    log=True,
)
RELATIVE = Measure(
    "relative",
    "Norm, relative to the inputs",
    "Norm of the merge over the mean norm of the adapters that took part: 1 as large, and about "
    "1/√N for the mean of N unrelated ones.",
    scale="diverging",
    middle=1.0,
    log=True,
)
ROUNDING = Measure(
    "rounding",
    "Rounding",
    "Relative error from the type in which factors are written, of the factor that lost most: 0 "
    "where none was needed, below 0.004 in bfloat16, 1 where all is lost.",
    log=True,
)

NOT_IN_LAYER = "the adapter takes no part in this layer"
ZERO = "a delta is zero here"


def layer_maps(merge: Merge, key: str) -> Heat:
    """Energy, norms, cosines and rounding of one merge, by layer."""
    layers = tuple(one.layer for one in merge.report.layers)
    panels = [merge_panel(merge, "the merge", cosines=False)]
    for i, name in enumerate(merge.inputs):
        cosines: dict[str, Value] = {}
        norms: dict[str, Value] = {}
        for layer in merge.report.layers:
            if i in layer.adapters:
                cosines[layer.layer] = _or(merge.cosine(layer, i), ZERO)
                norms[layer.layer] = _or(merge.input_norm(layer, i), ZERO)
        values = {COSINE.key: cosines, NORM.key: norms}
        panels.append(Panel(name, values, absent=NOT_IN_LAYER))
    return Heat(key, layers, (COSINE, KEPT, NORM, RELATIVE, ROUNDING), tuple(panels))


def merge_panel(merge: Merge, title: str, *, cosines: bool) -> Panel:
    """What a merge has of its own in each layer; `cosines`: the mean over its inputs."""
    values: dict[str, Mapping[str, Value]] = {
        KEPT.key: _each(merge, lambda x: x.energy_kept, "the answer is zero"),
        NORM.key: _each(merge, lambda x: x.norm, ""),
        RELATIVE.key: _each(merge, merge.relative_norm, "its inputs are zero"),
        ROUNDING.key: _each(merge, lambda x: x.rounding, "its factors are zero"),
    }
    if cosines:
        values[COSINE.key] = _each(merge, mean_cosine, ZERO)
    return Panel(title, values, absent="the merge does not have this layer")


def compared_maps(merges: Sequence[Merge], key: str) -> Heat:
    """The merges beside each other on one scale."""
    layers = tuple(dict.fromkeys(one.layer for merge in merges for one in merge.report.layers))
    panels = tuple(merge_panel(merge, merge.name, cosines=True) for merge in merges)
    return Heat(key, layers, (COSINE, KEPT, NORM, RELATIVE, ROUNDING), panels)


def mean_cosine(layer: LayerReport) -> float | None:
    """Mean over the adapters in a layer; None where one is zero."""
    there = [x for x in layer.cosines if x is not None]
    return sum(there) / len(there) if there else None


def _each(merge: Merge, of: Callable[[LayerReport], float | None], why: str) -> Mapping[str, Value]:
    return {layer.layer: _or(of(layer), why) for layer in merge.report.layers}


def _or(value: float | None, why: str) -> Value:
    return why if value is None else value


def layer_table(merge: Merge) -> str:
    """Every layer as a row, folded away where there are many."""
    heads = ["Layer", "Shape", "Adapters", "Rank", "Energy kept", "Norm", "Relative norm"]
    heads += ["Rounding", *(f"Cosine to {name}" for name in merge.inputs)]
    rows = []
    for layer in merge.report.layers:
        relative = merge.relative_norm(layer)
        cells = [
            name_cell(layer.layer),
            word_cell(f"{layer.d_out} × {layer.d_in}" + _kind(layer)),
            number_cell(len(layer.adapters), str(len(layer.adapters))),
            number_cell(layer.rank, str(layer.rank)),
            measured(KEPT, layer.energy_kept, "the answer is zero"),
            measured(NORM, layer.norm),
            measured(RELATIVE, relative, "its inputs are zero"),
            measured(ROUNDING, layer.rounding, "its factors are zero"),
        ]
        for i in range(len(merge.inputs)):
            why = ZERO if i in layer.adapters else NOT_IN_LAYER
            cells.append(measured(COSINE, merge.cosine(layer, i), why))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    table = sortable(heads, rows, "A click on a heading sorts; the merge's own numbers first")
    return fold(f"All {len(rows)} layers as a table", table)


def _kind(layer: LayerReport) -> str:
    return "" if layer.kind == "linear" else f", {layer.kind}"


def measured(measure: Measure, value: float | None, why: str = "") -> str:
    """A number as its measure shows it."""
    if value is not None and not math.isfinite(value):
        return number_cell(None, "", "it is not a finite number")
    return number_cell(value, "" if value is None else measure.shown(value), why)


def layers_csv(merges: Sequence[Merge]) -> str:
    """A row for each layer of each merge; adapters that take no part leave their cells empty."""
    most = max(len(merge.inputs) for merge in merges)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["merge", "method", "layer", "kind", "d_out", "d_in", "exact_rank", "rank"]
    heads += ["energy_kept", "norm", "relative_norm", "rounding"]
    for i in range(most):
        heads += [f"adapter {i}", f"weight {i}", f"norm {i}", f"cosine {i}"]
    writer.writerow(heads)
    for merge in merges:
        for layer in merge.report.layers:
            row: list[object] = [harmless(merge.name), harmless(merge.method)]
            row += [harmless(layer.layer), harmless(layer.kind), layer.d_out, layer.d_in]
            row += [layer.exact_rank, layer.rank, layer.energy_kept, layer.norm]
            row += [merge.relative_norm(layer), layer.rounding]
            for i, name in enumerate(merge.inputs):
                there = i in layer.adapters
                weight = layer.weights[layer.adapters.index(i)] if there else None
                row += [harmless(name), weight, merge.input_norm(layer, i), merge.cosine(layer, i)]
            writer.writerow(["" if each is None else each for each in row])
    return out.getvalue()
