"""A run in one table for a spreadsheet."""

import csv
import io
import json

from copamerge.bench.metrics import MODES
from copamerge.reports.gap_tables import gap_tables
from copamerge.reports.gaps import Gaps
from copamerge.reports.run import Run
from copamerge.reports.tables import COUNTED, paper_source, table, table_heads


def csv_text(run: Run, gaps: Gaps | None = None) -> str:
    """Everything in one table for a spreadsheet: a row for each model and mode.

    `gaps` adds the numbers of `gap_tables`.
    """
    out = io.StringIO()
    heads = table_heads(run, brief=False)
    columns = [] if gaps is None else [c for each in gaps.columns.values() for c in each]
    writer = csv.writer(out, lineterminator="\n")
    names = [f"{head.key} mean" if head.mean else head.key for head in heads]
    names += [column.key for column in columns]
    writer.writerow(
        ["model", "title", "kind", "method", "options", "scale_rule", "multiple", "x", "mode"]
        + ["unreadable", "empty", "not asked"]
        + [f"{harmless(name)}{tail}" for name in names for tail in ("", " stderr", " paper")]
        + ["paper source"]
    )
    for mode in MODES:
        whole = table(run, mode)
        beside = () if gaps is None else gap_tables(run, gaps, mode)
        for i, line in enumerate(whole.lines):
            model = line.model
            texts = [
                model.name,
                model.shown,
                model.kind,
                model.method or "",
                json.dumps(model.changed, sort_keys=True) if model.changed else "",
                model.scale_rule or "",
                _place(model.multiple),
                _place(run.places.get(model.name)),
                mode,
            ]
            cells = [*line.cells, *(c for made in beside for c in made.lines[i].cells)]
            numbers = [
                number
                for cell in cells
                for number in (_number(cell.points), _number(cell.stderr), cell.paper or "")
            ]
            counts = [line.counts.get(head, 0) for head in COUNTED]
            source = paper_source(run) if any(cell.paper for cell in cells) else ""
            writer.writerow([*map(harmless, texts), *counts, *numbers, source])
    return out.getvalue()


def _number(number: float | None) -> str:
    return "" if number is None else repr(number)


def _place(x: float | str | None) -> str:
    return x if isinstance(x, str) else "" if x is None else f"{x:g}"


def harmless(text: str) -> str:
    """The text as a cell that a spreadsheet does not run as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
