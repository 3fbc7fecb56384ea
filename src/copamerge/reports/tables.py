"""Tables of a run: methods as rows, tasks as columns, the paper's numbers beside ours."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from copamerge.bench.metrics import METRICS, MODES, Mode
from copamerge.reports.gaps import Column, Gap, Gaps, paper_gap
from copamerge.reports.makeup import Grid
from copamerge.reports.paper import CAVEATS, SOURCE, PaperRow, PaperTable, paper_table
from copamerge.reports.run import GROUPS, Group, ModelRecord, Run
from copamerge.reports.verdicts import BEST_NOTE, NOTE, Verdicts

MISSING = "–"
CAPTIONS = ("caption6",)
"""Metrics that are not the paper's, although the tasks mirror each other."""
SYMBOLS = ("†", "‡", "§", "¶", "‖")
"""Of the notes on columns, in their order."""

HEADINGS: Mapping[str, str] = {
    "table2": "Methods at their published defaults",
    "table2-norm-match": "The same scale rule for all: every layer at the adapters' mean norm",
    "table2-search": "The same small search for all, on the validation split",
    "table3": "General benchmarks: POPE, MME, MMBench",
    "table4": "Eight vision tasks with CLIP ViT-B/32",
    "table5": "Eight vision tasks with CLIP ViT-L/14",
    "methods": "At their published defaults",
    "methods-norm-match": "The same scale rule for all: every layer at the adapters' mean norm",
    "methods-search": "The same small search for all, on the validation split",
    "table3-norm-match": "The same scale rule for all: every layer at the adapters' mean norm",
    "table3-search": "The same small search for all, on the validation split",
    "table6": "Parts of copa switched off",
    "table7": "Where the coefficients come from",
    "figure2a": "Halves of the singular values",
    "figure2b": "Uneven multiples of the singular values",
    "figure4": "Number of tasks merged",
    "figure5": "Rank of the adapters",
    "figure6a": "Pruning rate",
    "figure6b": "Pruning technique",
    "figure6c": "Mean and standard deviation",
    "tradeoff": "Seen against unseen along the scale",
}


@dataclass(frozen=True)
class Cell:
    """One number of ours, and the paper's where it has one."""

    points: float | None
    stderr: float | None = None
    paper: str | None = None
    """As printed."""
    reason: str | None = None
    """Why there are no points."""
    fewer: int | None = None
    """A mean over fewer tasks than the column says: over how many."""
    signed: bool = False
    """A difference."""
    unsure: str | None = None
    """Why points have no standard error, where that is not plain."""


@dataclass(frozen=True)
class Head:
    """A column."""

    key: str
    title: str
    mean: bool
    dagger: str = ""
    """Symbols of the notes on it."""


COUNTED = ("Unreadable", "Empty", "Not asked")


@dataclass(frozen=True)
class Line:
    """A model as a row."""

    model: ModelRecord
    cells: tuple[Cell, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many of all answers are unreadable, empty, or to what could not be asked."""

    def extra(self, head: str) -> str:
        """This model's cell in one of the table's `extras`."""
        if head in COUNTED:
            return str(self.counts.get(head, 0))
        return MISSING if self.model.multiple is None else f"{self.model.multiple:g}"


@dataclass(frozen=True)
class Table:
    """All models of a run in one scoring mode."""

    name: str
    heading: str
    mode: Mode
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def extras(self) -> tuple[str, ...]:
        """Columns after the numbers that only some tables need."""
        scaled = any(line.model.multiple not in (None, 1.0) for line in self.lines)
        counted = (head for head in COUNTED if any(x.counts.get(head) for x in self.lines))
        return ("Scale ×",) * scaled + tuple(counted)

    @property
    def has_paper(self) -> bool:
        return any(cell.paper is not None for line in self.lines for cell in line.cells)


def table(run: Run, mode: Mode = "official", *, brief: bool = False) -> Table:
    """The Table 2 layout; `brief` is Table 7's: the two means alone."""
    printed = paper_table(run.record.suite, run.experiment) if mode == "official" else None
    heads = _heads(run, brief and run.record.averaged)
    lines = []
    for model in run.models:
        row = paper_row(run, model) if mode == "official" else None
        cells = tuple(_cell(run, model.name, head, mode, printed, row) for head in heads)
        lines.append(Line(model, cells, _counts(run, model.name, mode)))
    made = Table(
        name=run.experiment,
        heading=HEADINGS.get(run.experiment, run.experiment),
        mode=mode,
        heads=heads,
        lines=tuple(lines),
        notes=(),
    )
    made, marks = _marked(made, _marks(run, made, printed if made.has_paper else None))
    return replace(made, notes=_notes(run, made, printed, marks))


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
        made, marks = _marked(made, _gap_marks(made, columns, printed))
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
    whole = printed is not None and _is_whole(run, printed, column.over.key)
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
    if reasons := _reasons(made):
        notes.append(f"{MISSING} No number: {'; '.join(reasons)}.")
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


def _counts(run: Run, model: str, mode: Mode) -> dict[str, int]:
    rows = [row for c in run.columns if (row := run.row(model, c.task, mode)) is not None]
    return {
        "Unreadable": sum(row.unreadable or 0 for row in rows),
        "Empty": sum(row.empty or 0 for row in rows),
        "Not asked": sum(row.unasked or 0 for row in rows),
    }


def _marks(run: Run, made: Table, printed: PaperTable | None) -> list[tuple[str, ...]]:
    """What is to be known of each head."""
    highest = METRICS["caption6"].highest
    captions = f"Captions: the mean of six numbers, without METEOR, 0 to {highest:g}"
    captions += "; the paper's is the mean of seven." if printed else "."
    metrics = {column.task: column.metric for column in run.columns}
    found = []
    for head in made.heads:
        notes = [captions] if not head.mean and metrics[head.key] in CAPTIONS else []
        if printed is not None and not head.mean and head.key in printed.marks:
            notes.append(printed.marks[head.key])
        found.append(tuple(notes))
    return found


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


def _marked(made: Table, notes: Sequence[Sequence[str]]) -> tuple[Table, dict[str, str]]:
    """The table with symbols at its heads, and symbol -> note."""
    symbols: dict[str, str] = {}
    for note in dict.fromkeys(note for each in notes for note in each):
        i = len(symbols)
        symbols[note] = SYMBOLS[i] if i < len(SYMBOLS) else f"({i + 1})"
    heads = tuple(
        replace(head, dagger="".join(symbols[note] for note in each))
        for head, each in zip(made.heads, notes, strict=True)
    )
    return replace(made, heads=heads), {symbol: note for note, symbol in symbols.items()}


def _is_whole(run: Run, printed: PaperTable, group: str) -> bool:
    """Whether our tasks of a group are those that the paper's mean is over."""
    if group not in GROUPS:
        return False
    theirs = {"seen": printed.seen, "unseen": printed.unseen}[group]
    # Table 7 prints nothing but means: over the tasks of Table 2, hence of the whole suite.
    if not theirs and run.suite is not None:
        theirs = tuple(task.name for task in (run.suite.seen, run.suite.unseen)[group != "seen"])
    return set(theirs) == set(run.asked("seen" if group == "seen" else "unseen"))


def modes_differ(run: Run) -> bool:
    """Whether the corrected scores are other numbers than the official ones."""
    return any(
        (other := run.rows.get((model, task, "corrected"))) is not None
        and other.points != row.points
        for (model, task, mode), row in run.rows.items()
        if mode == "official"
    )


def paper_row(run: Run, model: ModelRecord) -> PaperRow | None:
    """The row of the paper that this model repeats; None where there is none."""
    experiment = run.experiment
    printed = paper_table(run.record.suite, experiment)
    if printed is None:
        return None
    if experiment == "table6":
        return printed.rows.get(model.name.removesuffix("-one-size"))
    if experiment == "table7":
        return printed.rows.get(str((model.options or {}).get("coefficients", "inter")))
    if model.kind != "merge":
        return printed.rows.get(model.kind)
    if not model.changed and model.multiple in (None, 1.0) and model.is_published:
        return printed.rows.get(model.method or "")
    return None


def _heads(run: Run, brief: bool) -> tuple[Head, ...]:
    heads: list[Head] = []
    for group in GROUPS:
        if not brief:
            heads += [
                Head(column.task, column.title, False)
                for column in run.columns
                if column.seen == (group == "seen")
            ]
        if group in run.groups:
            heads.append(Head(group, f"{group.capitalize()} mean", True))
    return tuple(heads)


def _cell(
    run: Run,
    model: str,
    head: Head,
    mode: Mode,
    printed: PaperTable | None,
    paper: PaperRow | None,
) -> Cell:
    text = None
    if head.mean:
        group: Group = "seen" if head.key == "seen" else "unseen"
        mean = run.mean(model, group, mode)
        if paper and printed and _is_whole(run, printed, group):
            text = paper.printed(paper.seen if group == "seen" else paper.unseen)
        whole = len(run.asked(group))
        if mean is None:
            return Cell(None, None, text, _reason(run, model, group, mode))
        fewer = mean.tasks if mean.tasks < whole else None
        return Cell(mean.points, mean.stderr, text, fewer=fewer)
    if paper and printed:
        text = paper.printed(printed.points(paper, head.key))
    row = run.row(model, head.key, mode)
    if row is None:
        return Cell(None, None, text, "not asked")
    return Cell(row.points, row.stderr, text, row.reason)


def _reason(run: Run, model: str, group: Group, mode: Mode) -> str:
    reasons = {
        row.reason
        for task in run.asked(group)
        if (row := run.row(model, task, mode)) is not None and row.reason
    }
    return "; ".join(sorted(reasons)) or "not asked"


def _notes(
    run: Run, made: Table, printed: PaperTable | None, marks: Mapping[str, str]
) -> tuple[str, ...]:
    record = run.record
    errors = "± is the standard error over items"
    if run.groups:
        errors += "; a mean's is that of the mean over these tasks"
    first = f"{record.asked}, {record.split} split, seed {record.seed}, scored as `{made.mode}`."
    notes = [f"{first[:1].upper()}{first[1:]} {errors}."]
    if not record.averaged:
        notes.append("The tasks count in unlike units, so there is no mean over them.")
    notes += [f"{symbol} {note}" for symbol, note in marks.items()]
    if any(cell.fewer for line in made.lines for cell in line.cells):
        notes.append("(k) A mean over k tasks, those that the model was asked.")
    if "Empty" in made.extras and any(c.metric == LENIENT for c in run.columns):
        notes.append(
            f"Empty: answers without a character; by `{LENIENT}` the official rule scores them as "
            "right, `corrected` does not."
        )
    if "Not asked" in made.extras:
        notes.append("Not asked: samples whose picture did not open; they count as wrong.")
    if reasons := _reasons(made):
        notes.append(f"{MISSING} No number: {'; '.join(reasons)}.")
    if made.has_paper and printed is not None:
        caveat = CAVEATS.get(record.suite, "")
        notes.append(f"The paper's numbers are from {SOURCE}, {printed.label}. {caveat}".strip())
        notes += paper_notes(printed)
    elif record.suite == "clip8" and made.mode == "official" and printed is None:
        notes.append(
            "The paper's numbers stand beside runs that say which of its bases they have: bench "
            "--experiment table4 (ViT-B/32) or table5 (ViT-L/14)."
        )
    return tuple(notes)


LENIENT = "two_way_substring"
"""The metric by whose official rule an answer without a character is right."""


def paper_notes(printed: PaperTable) -> list[str]:
    """What has to be said of a table of the paper beside its numbers."""
    notes = list(printed.notes)
    unlike = [
        f"{row.title} {row.printed(mean)} ({numbers:.{row.decimals + 1}f})"
        for row, mean, numbers in printed.unlike_means
    ]
    if unlike:
        notes.append(
            f"Means that the paper prints otherwise than its own numbers give: {', '.join(unlike)}."
        )
    return notes


def _reasons(made: Table) -> list[str]:
    found: dict[str, list[str]] = {}
    for line in made.lines:
        for cell in line.cells:
            if cell.points is None and cell.reason:
                titles = found.setdefault(cell.reason.rstrip("."), [])
                if line.model.shown not in titles:
                    titles.append(line.model.shown)
    return [f"{', '.join(titles)}: {reason}" for reason, titles in found.items()]


def shown(cell: Cell) -> str:
    """`71.9 ± 1.0`."""
    if cell.points is None:
        return MISSING
    error = "" if cell.stderr is None else f" ± {cell.stderr:.1f}"
    points = f"{cell.points:+.1f}" if cell.signed else f"{cell.points:.1f}"
    return f"{points}{error}" + (f" ({cell.fewer})" if cell.fewer else "")


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


def verdict_rows(run: Run, all_verdicts: Sequence[Verdicts]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows; a model that was compared with nothing has no row."""
    columns = [
        (verdicts, over)
        for verdicts in all_verdicts
        for over in run.sets
        if any(v.group == over.key for v in verdicts.found)
    ]
    heads = ["Method"] + [
        f"{over.title}, against {run.model(verdicts.against).shown}" for verdicts, over in columns
    ]
    rows = []
    for model in run.models:
        found = [vs.of(model.name, over.key) for vs, over in columns]
        if any(found):
            rows.append([model.shown, *(v.text if v else MISSING for v in found)])
    return heads, rows


def verdict_notes(run: Run, all_verdicts: Sequence[Verdicts]) -> list[str]:
    """How to read the verdicts, and how many were made."""
    made = sum(len(verdicts.found) for verdicts in all_verdicts)
    notes = [NOTE, f"{made} comparisons were made here."]
    copas = {baseline(run), *(baseline(run, rule) for rule in scale_rules(run))}
    if any(verdicts.against not in copas for verdicts in all_verdicts):
        notes.append(BEST_NOTE)
    return notes


def baseline(run: Run, rule: str | None = None) -> str | None:
    """What the others are compared with: copa as it is published, else the last copa of the run.

    `rule` looks only at merges under this scale rule.
    """
    copas = [m for m in run.models if m.kind == "merge" and m.method == "copa"]
    copas = [m for m in copas if rule is None or m.scale_rule == rule]
    plain = [m.name for m in copas if not m.changed]
    return plain[-1] if plain else (copas[-1].name if copas else None)


def scale_rules(run: Run) -> tuple[str, ...]:
    """Those that the run's merges are under."""
    found = (m.scale_rule for m in run.models if m.kind == "merge" and m.scale_rule)
    return tuple(dict.fromkeys(found))


def csv_text(run: Run, gaps: Gaps | None = None) -> str:
    """Everything in one table for a spreadsheet: a row for each model and mode.

    `gaps` adds the numbers of `gap_tables`.
    """
    out = io.StringIO()
    heads = _heads(run, brief=False)
    columns = [] if gaps is None else [c for each in gaps.columns.values() for c in each]
    writer = csv.writer(out, lineterminator="\n")
    names = [f"{head.key} mean" if head.mean else head.key for head in heads]
    names += [column.key for column in columns]
    writer.writerow(
        ["model", "title", "kind", "method", "options", "scale_rule", "multiple", "x", "mode"]
        + ["unreadable", "empty", "not asked"]
        + [f"{_harmless(name)}{tail}" for name in names for tail in ("", " stderr", " paper")]
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
            writer.writerow([*map(_harmless, texts), *counts, *numbers, source])
    return out.getvalue()


def paper_source(run: Run) -> str:
    """Where the paper's numbers beside a run are from, with all that has to be said of them."""
    printed = paper_table(run.record.suite, run.experiment)
    if printed is None:
        return ""
    titles = {column.task: column.title for column in run.columns}
    marks: dict[str, list[str]] = {}
    for task, note in printed.marks.items():
        marks.setdefault(note, []).append(titles.get(task, task))
    said = [f"{', '.join(tasks)}: {note}" for note, tasks in marks.items()]
    return " ".join([f"{SOURCE}, {printed.label}.", *said, *paper_notes(printed)])


def _number(number: float | None) -> str:
    return "" if number is None else repr(number)


def _place(x: float | str | None) -> str:
    return x if isinstance(x, str) else "" if x is None else f"{x:g}"


def _harmless(text: str) -> str:
    # A spreadsheet would run these as formulas.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


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
