"""Tables as Markdown, a stranger's text in them shown as it is."""

import re
from collections.abc import Sequence

from copamerge.reports.makeup import Grid
from copamerge.reports.run import Run
from copamerge.reports.tables import Head, Table, shown
from copamerge.reports.verdict_table import verdict_notes, verdict_rows
from copamerge.reports.verdicts import Verdicts


def markdown(made: Table) -> str:
    """The table, its notes below."""
    heads = ["Method", *map(_head, made.heads), *made.extras]
    rows = []
    for line in made.lines:
        cells = [shown(cell) for cell in line.cells]
        rows.append([escaped(line.model.shown), *cells, *map(line.extra, made.extras)])
        if any(cell.paper is not None for cell in line.cells):
            paper = [f"*{cell.paper}*" if cell.paper else "" for cell in line.cells]
            rows.append(["*paper*", *paper, *[""] * len(made.extras)])
    notes = "\n".join(f"- {escaped(note, code=True)}" for note in made.notes)
    return f"{_grid(heads, rows)}\n\n{notes}\n"


def _head(head: Head) -> str:
    return escaped(head.title) + (f" {escaped(head.dagger)}" if head.dagger else "")


def grid_markdown(grid: Grid) -> str:
    """The parts of a task's points, by model."""
    rows = [[escaped(model.shown), *map(escaped, cells)] for model, cells in grid.rows]
    return _grid(["Model", *map(escaped, grid.heads)], rows)


def verdict_markdown(run: Run, all_verdicts: Sequence[Verdicts]) -> str:
    """One row a model, one column for each model compared with and each group."""
    heads, rows = verdict_rows(run, all_verdicts)
    notes = "\n".join(f"- {escaped(note)}" for note in verdict_notes(run, all_verdicts))
    grid = _grid([escaped(head) for head in heads], [list(map(escaped, row)) for row in rows])
    return f"{grid}\n\n{notes}\n"


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line(heads), _line([":--"] + ["--:"] * (len(heads) - 1)), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str, *, code: bool = False) -> str:
    """Text of a stranger as Markdown that shows it as it is; `code` leaves backticks alone."""
    special = r"\*_[]<>|#&" + ("" if code else "`")
    flat = " ".join(text.split())
    kept = re.split(r"(`[\w.+-]+`)", flat) if code else [flat]
    return "".join(
        part if i % 2 else "".join(f"\\{c}" if c in special else c for c in part)
        for i, part in enumerate(kept)
    )
