"""What the points of a task are made of: the metric's own numbers, categories, answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from copamerge.bench.metrics import MODES, Mode
from copamerge.reports.run import Column, ModelRecord, Row, Run

MANY = 30
"""Columns of a table that are shown; the rest is counted, and stays in `results.json`."""
MISSING = "–"


@dataclass(frozen=True)
class Grid:
    """Numbers by model, as text."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[ModelRecord, tuple[str, ...]], ...]
    note: str = ""


@dataclass(frozen=True)
class Makeup:
    """One task in one mode."""

    column: Column
    mode: Mode
    grids: tuple[Grid, ...]
    notes: tuple[str, ...] = ()


def makeup(run: Run) -> tuple[Makeup, ...]:
    """Tasks whose points have parts or categories, or whose answers are worth a word; the
    corrected mode only where it says something else."""
    found = []
    for column in run.columns:
        made: dict[Mode, Makeup] = {}
        for mode in MODES:
            rows = _rows(run, column.task, mode)
            grids = tuple(
                grid for grid in (_parts(rows), _categories(rows), _answers(rows)) if grid
            )
            notes = tuple(note for note in (_judged(rows),) if note)
            made[mode] = Makeup(column, mode, grids, notes if mode == "official" else ())
        official, corrected = made["official"], made["corrected"]
        if official.grids or official.notes:
            found.append(official)
        if corrected.grids and corrected.grids != official.grids:
            found.append(corrected)
    return tuple(found)


_Rows = Sequence[tuple[ModelRecord, Row]]


def _rows(run: Run, task: str, mode: Mode) -> _Rows:
    rows = [(model, run.row(model.name, task, mode)) for model in run.models]
    return [(model, row) for model, row in rows if row is not None and row.points is not None]


def _parts(rows: _Rows) -> Grid | None:
    names = list(dict.fromkeys(name for _, row in rows for name in row.parts))
    if not names:
        return None
    values = [[row.parts.get(name) for name in names] for _, row in rows]
    return _grid("Parts", names, rows, values)


def _categories(rows: _Rows) -> Grid | None:
    """Points by category; the number of items stands at the head where all models have it."""
    names = list(dict.fromkeys(name for _, row in rows for name in row.categories))
    if not names:
        return None
    heads = []
    for name in names:
        counts = {row.categories[name].get("items") for _, row in rows if name in row.categories}
        count = counts.pop() if len(counts) == 1 else None
        heads.append(name if count is None else f"{name} ({count:g})")
    values = [[row.categories.get(name, {}).get("points") for name in names] for _, row in rows]
    return _grid("Points by category (items)", heads, rows, values)


def _answers(rows: _Rows) -> Grid | None:
    """How many answers are empty, unreadable, or were never given; None where all are well."""
    if not any(row.empty or row.unasked for _, row in rows):
        return None
    heads = ("Answers", "Empty", "Unreadable", "Not asked")
    return Grid(
        "Answers",
        heads,
        tuple(
            (model, tuple(_count(n) for n in (x.answers, x.empty, x.unreadable, x.unasked)))
            for model, x in rows
        ),
    )


def _judged(rows: _Rows) -> str | None:
    """`9000 answers are judged as 4500 groups`, where a group is an item."""
    pairs = {(row.answers, row.items) for _, row in rows if row.answers not in (None, row.items)}
    if not pairs:
        return None
    said = ", ".join(f"{answers} answers as {items} groups" for answers, items in sorted(pairs))
    return f"Answers are judged together: {said}; standard errors are over the groups."


def _grid(
    title: str, heads: Sequence[str], rows: _Rows, values: Sequence[Sequence[float | None]]
) -> Grid:
    """As many decimals in a column as its largest number asks for."""
    kept = min(len(heads), MANY)
    forms = []
    for i in range(kept):
        largest = max((abs(line[i] or 0.0) for line in values), default=0.0)
        forms.append(".3f" if largest <= 1 else ".1f")
    lines = tuple(
        (model, tuple(_number(value, form) for value, form in zip(line, forms, strict=False)))
        for (model, _), line in zip(rows, values, strict=True)
    )
    rest = len(heads) - kept
    note = f"{rest} more columns are in results.json." if rest else ""
    return Grid(title, tuple(heads[:kept]), lines, note)


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)


def _count(value: int | None) -> str:
    return MISSING if value is None else str(value)
