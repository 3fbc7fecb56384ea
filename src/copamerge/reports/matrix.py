"""Every adapter against every other: numbers in coloured cells, readable without a script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from copamerge.reports.document import flat
from copamerge.reports.heat import Value
from copamerge.reports.scale import Measure, colour, ink_on
from copamerge.reports.tables import MISSING


@dataclass(frozen=True)
class Matrix:
    """One measure of all pairs."""

    measure: Measure
    names: tuple[str, ...]
    values: tuple[tuple[Value | None, ...], ...]
    """By row, then column; None where nothing belongs, as on a diagonal."""


def matrix_html(matrix: Matrix) -> str:
    """Rows by name, columns by the number that stands before it: long names cost no width."""
    finite = [
        x
        for row in matrix.values
        for x in row
        if x is not None and not isinstance(x, str) and math.isfinite(x)
    ]
    measure = matrix.measure.fitted(finite)
    heads = "".join(
        f'<th scope="col" title="{flat(name)}">{i}</th>' for i, name in enumerate(matrix.names, 1)
    )
    rows = "".join(
        f'<tr><th scope="row"><span>{i}</span> {flat(name)}</th>'
        f"{''.join(_cell(measure, value) for value in values)}</tr>"
        for i, (name, values) in enumerate(zip(matrix.names, matrix.values, strict=True), 1)
    )
    return (
        '<div class="wide matrix" tabindex="0"><table>'
        f"<caption><strong>{flat(measure.title)}.</strong> {flat(measure.explains)}</caption>"
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def matrices_html(matrices: Sequence[Matrix]) -> str:
    """Side by side where there is room."""
    return f'<div class="matrices">{"".join(map(matrix_html, matrices))}</div>'


def _cell(measure: Measure, value: Value | None) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, str) or not math.isfinite(value):
        reason = value if isinstance(value, str) else "it is not a finite number"
        return f'<td class="gone" title="{escape(reason)}">{MISSING}</td>'
    ground = colour(measure.colours, measure.place(value))
    full = escape(measure.shown(value))
    style = f"background:{ground};color:{ink_on(ground)}"
    return f'<td style="{style}" title="{full}">{escape(measure.brief(value))}</td>'
