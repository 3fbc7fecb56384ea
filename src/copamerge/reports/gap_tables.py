"""Tables of models against individual and multi-task ones, the paper's own gaps beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from copamerge.bench.metrics import Mode
from copamerge.reports.gaps import Column, Gap, Gaps, paper_gap
from copamerge.reports.paper import PaperRow, PaperTable, paper_table
from copamerge.reports.run import ModelRecord, Run
from copamerge.reports.tables import (
    MISSING,
    Cell,
    Head,
    Line,
    Table,
    is_whole,
    marked,
    paper_row,
    reasons,
)


def gap_tables(run: Run, gaps: Gaps, mode: Mode) -> tuple[Table, ...]:
    """Models against individual and multi-task ones: the means, then each measure by task.

    Empty where the run has neither of the two.

    Raises:
        SuiteError: a file of scores cannot be read.
    """
    return tuple(
        _gap_table(run, gaps, mode, heading, columns) for heading, columns in gaps.columns.items()
    )


def _gap_table(run: Run, gaps: Gaps, mode: Mode, heading: str, columns: Sequence[Column]) -> Table:
    printed = paper_table(run.record.suite, run.experiment) if mode == "official" else None
    heads = tuple(Head(column.key, column.title, column.mean) for column in columns)
    lines = []
    for model in run.models:
        row = paper_row(run, model) if mode == "official" else None
        cells = tuple(_gap_cell(run, gaps, model, column, mode, printed, row) for column in columns)
        lines.append(Line(model, cells))
    made = Table(
        name=run.experiment,
        heading=heading,
        mode=mode,
        heads=heads,
        lines=tuple(lines),
        notes=(),
    )
    marks: dict[str, str] = {}
    if printed is not None:
        made, marks = marked(made, _gap_marks(made, columns, printed))
    return replace(made, notes=_gap_notes(run, gaps, made, columns, printed, marks))


def _gap_cell(
    run: Run,
    gaps: Gaps,
    model: ModelRecord,
    column: Column,
    mode: Mode,
    printed: PaperTable | None,
    row: PaperRow | None,
) -> Cell:
    gap: Gap = gaps.of(model.name, column, mode)
    whole = printed is not None and is_whole(run, printed, column.over.key)
    value = paper_gap(printed, row, column, whole)
    paper = None
    if value is not None and row is not None:
        paper = f"{value:.1f}" if column.measure == "normalised" else f"{value:+.{row.decimals}f}"
    return Cell(
        gap.value,
        gap.stderr,
        paper,
        gap.reason,
        fewer=gap.tasks if gap.value is not None and gap.tasks < len(column.over.tasks) else None,
        signed=column.measure != "normalised",
        unsure=gap.unsure,
    )


def _gap_notes(
    run: Run,
    gaps: Gaps,
    made: Table,
    columns: Sequence[Column],
    printed: PaperTable | None,
    marks: Mapping[str, str],
) -> tuple[str, ...]:
    percent = any(column.measure == "normalised" for column in columns)
    means = any(column.mean for column in columns)
    said = f"Scored as `{made.mode}`."
    if percent:
        said += " A percentage is a model's points on a task over those of the task's own adapter"
        said += ", and then the mean over tasks." if means else "."
    said += (
        f" ± is the standard error by a paired bootstrap over items ({gaps.resamples} resamples)."
    )
    notes = [said, *(f"{symbol} {note}" for symbol, note in marks.items())]
    if any(cell.fewer for line in made.lines for cell in line.cells):
        notes.append("(k) Over k tasks, those that the model was asked.")
    if why := reasons(made):
        notes.append(f"{MISSING} No number: {'; '.join(why)}.")
    unsure = {cell.unsure for line in made.lines for cell in line.cells if cell.unsure}
    if unsure:
        notes.append(f"No standard error: {'; '.join(sorted(unsure))}.")
    if _is_first(gaps, made):
        notes += gaps.missing
    if made.has_paper and printed is not None:
        how = ": differences of its means, percentages of its numbers by task" if means else ""
        notes.append(f"The paper's are computed from what it prints in {printed.label}{how}.")
    return tuple(notes)


def _is_first(gaps: Gaps, made: Table) -> bool:
    return made.heading == next(iter(gaps.columns))


def _gap_marks(
    made: Table, columns: Sequence[Column], printed: PaperTable
) -> list[tuple[str, ...]]:
    """Of columns in which the paper has numbers."""
    found = []
    for i, column in enumerate(columns):
        tasks = column.over.tasks
        if column.mean:
            # Of a mean, names do not matter; what is doubtful of an individual model does.
            tasks = () if column.measure == "mtl" else ("cars",)
        if all(line.cells[i].paper is None for line in made.lines):
            tasks = ()
        found.append(tuple(printed.marks[task] for task in tasks if task in printed.marks))
    return found
