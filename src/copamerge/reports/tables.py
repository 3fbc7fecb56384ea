"""Tables of a run: methods as rows, tasks as columns, the paper's numbers beside ours."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from copamerge.bench.metrics import METRICS, MODES, Mode
from copamerge.reports.paper import CAVEAT, SOURCE, TABLE_2, TABLE_6, TABLE_7, PaperRow
from copamerge.reports.run import Group, ModelRecord, Run
from copamerge.reports.verdicts import BEST_NOTE, NOTE, Verdicts

MISSING = "–"
CAPTIONS = ("caption6",)
"""Metrics that are not the paper's, although the tasks mirror each other."""

HEADINGS: Mapping[str, str] = {
    "table2": "Methods at their published defaults",
    "table2-norm-match": "The same scale rule for all: every layer at the adapters' mean norm",
    "table2-search": "The same small search for all, on the validation split",
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


@dataclass(frozen=True)
class Head:
    """A column."""

    key: str
    title: str
    mean: bool
    dagger: bool = False
    """The paper's number is of another metric."""


@dataclass(frozen=True)
class Line:
    """A model as a row."""

    model: ModelRecord
    cells: tuple[Cell, ...]
    unreadable: int

    def extra(self, head: str) -> str:
        """This model's cell in one of the table's `extras`."""
        if head == "Unreadable":
            return str(self.unreadable)
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
        unread = any(line.unreadable for line in self.lines)
        return ("Scale ×",) * scaled + ("Unreadable",) * unread

    @property
    def has_paper(self) -> bool:
        return any(cell.paper is not None for line in self.lines for cell in line.cells)


def table(run: Run, mode: Mode = "official", *, brief: bool = False) -> Table:
    """The Table 2 layout; `brief` is Table 7's: the two means alone."""
    heads = _heads(run, brief)
    lines = []
    for model in run.models:
        paper = paper_row(run, model) if mode == "official" else None
        cells = tuple(_cell(run, model.name, head, mode, paper) for head in heads)
        # A run whose tasks were chosen is none of the paper's means.
        rows = [run.row(model.name, column.task, mode) for column in run.columns]
        lines.append(Line(model, cells, sum(row.unreadable or 0 for row in rows if row)))
    made = Table(
        name=run.experiment,
        heading=HEADINGS.get(run.experiment, run.experiment),
        mode=mode,
        heads=heads,
        lines=tuple(lines),
        notes=(),
    )
    return Table(**{**vars(made), "notes": _notes(run, made)})


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
    if experiment == "table6":
        return TABLE_6.get(model.name.removesuffix("-one-size"))
    if experiment == "table7":
        return TABLE_7.get(str((model.options or {}).get("coefficients", "inter")))
    if experiment == "table2" and model.kind != "merge":
        return TABLE_2.get(model.kind)
    if experiment == "table2" and not model.changed and model.multiple in (None, 1.0):
        return TABLE_2.get(model.method or "")
    return None


def _heads(run: Run, brief: bool) -> tuple[Head, ...]:
    heads: list[Head] = []
    groups: tuple[Group, ...] = ("seen", "unseen")
    for group in groups:
        if not run.asked(group):
            continue
        if not brief:
            heads += [
                Head(column.task, column.title, False, column.metric in CAPTIONS)
                for column in run.columns
                if column.seen == (group == "seen")
            ]
        heads.append(Head(group, f"{group.capitalize()} mean", True))
    return tuple(heads)


def _cell(run: Run, model: str, head: Head, mode: Mode, paper: PaperRow | None) -> Cell:
    if head.key in ("seen", "unseen") and head.mean:
        group: Group = "seen" if head.key == "seen" else "unseen"
        mean = run.mean(model, group, mode)
        # The paper's mean is over eight and four tasks.
        printed = None
        if paper:
            printed = paper.printed(paper.seen if group == "seen" else paper.unseen)
        whole = len(run.asked(group))
        if mean is None:
            return Cell(None, None, printed, _reason(run, model, group, mode))
        fewer = mean.tasks if mean.tasks < whole else None
        return Cell(mean.points, mean.stderr, printed, fewer=fewer)
    printed = paper.printed(paper.points(head.key)) if paper else None
    row = run.row(model, head.key, mode)
    if row is None:
        return Cell(None, None, printed, "not asked")
    return Cell(row.points, row.stderr, printed, row.reason)


def _reason(run: Run, model: str, group: Group, mode: Mode) -> str:
    reasons = {
        row.reason
        for task in run.asked(group)
        if (row := run.row(model, task, mode)) is not None and row.reason
    }
    return "; ".join(sorted(reasons)) or "not asked"


def _notes(run: Run, made: Table) -> tuple[str, ...]:
    record = run.record
    notes = [
        f"{record.items} items a task, {record.split} split, seed {record.seed}, scored as "
        f"`{made.mode}`. ± is the standard error over items; a mean's is that of the mean over "
        "these tasks.",
    ]
    if any(head.dagger for head in made.heads):
        highest = METRICS["caption6"].highest
        notes.append(
            "† Captions: the mean of six numbers, without METEOR, 0 to "
            f"{highest:g}; the paper's is the mean of seven."
        )
    if any(cell.fewer for line in made.lines for cell in line.cells):
        notes.append("(k) A mean over k tasks, those that the model was asked.")
    if reasons := _reasons(made):
        notes.append(f"{MISSING} No number: {'; '.join(reasons)}.")
    if made.has_paper:
        notes.append(f"The paper's numbers are from {SOURCE}, {_where(run)}. {CAVEAT}")
    return tuple(notes)


def _where(run: Run) -> str:
    return {"table6": "Table 6", "table7": "Table 7"}.get(run.experiment, "Table 2")


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
    return f"{cell.points:.1f}{error}" + (f" ({cell.fewer})" if cell.fewer else "")


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
    return escaped(head.title) + (" †" if head.dagger else "")


def verdict_markdown(run: Run, all_verdicts: Sequence[Verdicts]) -> str:
    """One row a model, one column for each model compared with and each group."""
    heads, rows = verdict_rows(run, all_verdicts)
    notes = "\n".join(f"- {escaped(note)}" for note in verdict_notes(run, all_verdicts))
    grid = _grid([escaped(head) for head in heads], [list(map(escaped, row)) for row in rows])
    return f"{grid}\n\n{notes}\n"


def verdict_rows(run: Run, all_verdicts: Sequence[Verdicts]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows; a model that was compared with nothing has no row."""
    columns = [
        (verdicts, group)
        for verdicts in all_verdicts
        for group in ("seen", "unseen")
        if any(v.group == group for v in verdicts.found)
    ]
    heads = ["Method"] + [
        f"{group.capitalize()}, against {run.model(verdicts.against).shown}"
        for verdicts, group in columns
    ]
    rows = []
    for model in run.models:
        found = [
            next((v for v in vs.found if v.model == model.name and v.group == group), None)
            for vs, group in columns
        ]
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


def csv_text(run: Run) -> str:
    """Everything in one table for a spreadsheet: a row for each model and mode."""
    out = io.StringIO()
    heads = _heads(run, brief=False)
    writer = csv.writer(out, lineterminator="\n")
    names = [(head, f"{head.key} mean" if head.mean else head.key) for head in heads]
    writer.writerow(
        [
            "model",
            "title",
            "kind",
            "method",
            "options",
            "scale_rule",
            "multiple",
            "x",
            "mode",
            "unreadable",
        ]
        + [f"{name}{tail}" for _, name in names for tail in ("", " stderr", " paper")]
    )
    for mode in MODES:
        for line in table(run, mode).lines:
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
            numbers = [
                number
                for cell in line.cells
                for number in (_number(cell.points), _number(cell.stderr), cell.paper or "")
            ]
            writer.writerow([*map(_harmless, texts), line.unreadable, *numbers])
    return out.getvalue()


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
    return "".join(f"\\{c}" if c in special else c for c in flat)
