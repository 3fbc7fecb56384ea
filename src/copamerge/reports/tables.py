"""Tables of a run: methods as rows, tasks as columns, the paper's numbers beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from copamerge.bench.metrics import METRICS, Mode
from copamerge.reports.paper import CAVEATS, SOURCE, PaperRow, PaperTable, paper_table
from copamerge.reports.run import GROUPS, Group, ModelRecord, Run

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
    heads = table_heads(run, brief and run.record.averaged)
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
    made, marks = marked(made, _marks(run, made, printed if made.has_paper else None))
    return replace(made, notes=_notes(run, made, printed, marks))


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


def marked(made: Table, notes: Sequence[Sequence[str]]) -> tuple[Table, dict[str, str]]:
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


def is_whole(run: Run, printed: PaperTable, group: str) -> bool:
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


def table_heads(run: Run, brief: bool) -> tuple[Head, ...]:
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
        if paper and printed and is_whole(run, printed, group):
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
    if why := reasons(made):
        notes.append(f"{MISSING} No number: {'; '.join(why)}.")
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


def reasons(made: Table) -> list[str]:
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
