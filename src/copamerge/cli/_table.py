"""What `copamerge evaluate` and `copamerge bench` print: the results of a run as tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from copamerge.cli._names import plain
from copamerge.cli._show import shown_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from copamerge.bench.bridges.running import Evaluated
    from copamerge.bench.estimate import Estimate
    from copamerge.bench.record import Run

MODES = ("official", "corrected")
GROUPS = ("seen", "unseen")
NAMED = 4
"""Models that a line counts by name."""
LENIENT = "two_way_substring"
"""The metric by whose official rule an answer without a character is right."""


def say_run(run: "Run", *, quiet: bool) -> None:
    """Warnings and failures of a run, to stderr."""
    for note in run.record["notes"]:
        typer.echo(f"note: {plain(note)}", err=True)
    for model in run.record["models"]:
        for warning in () if quiet else model["warnings"]:
            typer.echo(f"warning: {model['name']}: {plain(warning)}", err=True)
        for problem in (model["failed"] or "").splitlines():
            typer.echo(f"failed: {model['name']}: {plain(problem)}", err=True)


def show_tasks(run: "Run") -> None:
    """A line for each task, columns for each model: points ± standard error in both modes."""
    models = [model["name"] for model in run.record["models"]]
    points = {(x["model"], x["task"], x["mode"]): x for x in run.results["rows"]}
    averages = {(x["model"], x["group"], x["mode"]): x for x in run.results["means"]}
    table = _table("task")
    for name in models:
        for mode in MODES:
            table.add_column(f"{name}\n{mode}", justify="right")
        table.add_column("\nunreadable", justify="right")
    lines: dict[str, bool] = {x["task"]: x["seen"] for x in run.results["rows"]}
    for group in GROUPS:
        mine = [task for task, seen in lines.items() if seen == (group == "seen")]
        for task in mine:
            cells = []
            for name in models:
                found = [points.get((name, task, mode)) for mode in MODES]
                cells += [_cell(one) for one in found]
                cells.append(_count(found[1]))
            table.add_row(task, *cells)
        if mine and averages:
            cells = []
            for name in models:
                cells += [_cell(averages.get((name, group, mode))) for mode in MODES] + [""]
            table.add_row(f"mean, {group}", *cells, style="bold")
            table.add_section()
    _print(table)
    _say_answers(run)


def show_models(run: "Run") -> None:
    """A line for each model: its means in both modes, and what it took; then points by task."""
    averages = {(x["model"], x["group"], x["mode"]): x for x in run.results["means"]}
    table = _table("model")
    # A suite without means has no group, and one without unseen tasks no mean over them.
    groups = [g for g in GROUPS if any(x["group"] == g for x in run.results["means"])]
    for group in groups:
        for mode in MODES:
            table.add_column(f"{group}\n{mode}", justify="right")
    for title in ("merged\nin s", "answered\nin s"):
        table.add_column(title, justify="right")
    for model in run.record["models"]:
        cells = [_cell(averages.get((model["name"], g, m))) for g in groups for m in MODES]
        table.add_row(
            _title(model),
            *cells,
            _number(model["merge_seconds"], ".1f"),
            _number(model["answer_seconds"], ".1f"),
        )
    _print(table)
    points = {(x["model"], x["task"], x["mode"]): x for x in run.results["rows"]}
    tasks = list(dict.fromkeys(x["task"] for x in run.results["rows"]))
    # Where there is no mean, a task's own line is all that is said of it.
    modes = MODES[:1] if groups else MODES
    for chunk in [tasks[i : i + 4] for i in range(0, len(tasks), 4)]:
        by_task = _table("official points" if groups else "points")
        for task in chunk:
            for mode in modes:
                by_task.add_column(task if groups else f"{task}\n{mode}", justify="right")
        for model in run.record["models"]:
            cells = []
            for task in chunk:
                for mode in modes:
                    one = points.get((model["name"], task, mode))
                    cells.append(_number(one and one["points"], ".1f") if groups else _cell(one))
            by_task.add_row(model["title"], *cells)
        typer.echo()
        _print(by_task)
    _say_answers(run)


def _say_answers(run: "Run") -> None:
    """A line for what a number alone does not say: empty answers, unasked samples, no number."""
    # Why a model failed has been said with its name.
    failed = {model["name"] for model in run.record["models"] if model["failed"]}
    for line in answer_lines([x for x in run.results["rows"] if x["model"] not in failed]):
        typer.echo(plain(line))


def answer_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """`empty answers: imagenet: ties 17 of 5000 (...)`, one line a task and fact."""
    rows = [row for row in rows if row["mode"] == "official"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    facts = {"empty": "empty answers", "unasked": "could not be asked"}
    for field, what in facts.items():
        for task in tasks:
            mine = [row for row in rows if row["task"] == task and row.get(field)]
            if not mine:
                continue
            counts = _counts([(x["model"], x[field], x["answers"]) for x in mine])
            lenient = field == "empty" and mine[0]["metric"] == LENIENT
            tail = " (counted as wrong)" if field == "unasked" else ""
            tail = (
                " (the official rule scores them as right; corrected does not)" if lenient else tail
            )
            yield f"{what}: {task}: {counts}{tail}"
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["points"] is None and row.get("reason"):
            reasons.setdefault((row["model"], row["reason"]), []).append(row["task"])
    for (model, reason), without in reasons.items():
        yield f"no points: {model} on {', '.join(without)}: {reason}"


def _counts(found: Sequence[tuple[str, int, int]]) -> str:
    """`ties 17 of 5000, copa 3 of 5000`; where there are many models, only the most of them."""
    if len(found) <= NAMED:
        return ", ".join(f"{model} {count} of {answers}" for model, count, answers in found)
    model, most, answers = max(found, key=lambda x: x[1])
    fewest = min(count for _, count, _ in found)
    return f"{len(found)} models, {fewest} to {most} of {answers} (most: {model})"


def show_cost(cost: "Estimate") -> None:
    """What a run would take: a line for each task, then the sums."""
    table = _table("task")
    for title in ("models", "samples\nof each", "units", "seconds\na sample", "GPU-hours"):
        table.add_column(title, justify="right")
    for task in cost.tasks:
        table.add_row(
            task.task,
            str(task.models),
            f"{task.samples:,}",
            f"{task.units:,}",
            f"{task.seconds:.3g}{'' if task.measured else ' *'}",
            f"{task.hours:.2f}",
        )
    table.add_section()
    table.add_row("all", "", f"{cost.samples:,}", f"{cost.units:,}", "", f"{cost.hours:.2f}")
    _print(table)
    lines = [
        f"{cost.models} models, {cost.merges} of them merges; base of "
        f"{cost.parameters / 1e6:,.1f} million parameters, {shown_bytes(cost.base_bytes)} to load "
        "by every worker",
        f"disk: merges at most {shown_bytes(cost.merged_bytes)}, answers about "
        f"{shown_bytes(cost.answers_bytes)}",
    ]
    if not all(task.measured for task in cost.tasks):
        lines.append(
            f"* a guess for one {_gpu()} at --batch {cost.batch}, right within a factor of about "
            "two: no answers of this base are there to measure by"
        )
    typer.echo("\n" + "\n".join(lines))


def show_harness(found: "Evaluated") -> None:
    """A line for each number, a column for each model."""
    cells = {(row.task, row.metric, row.filter, row.model): row for row in found.rows}
    models = list(dict.fromkeys(row.model for row in found.rows))
    table = _table("task")
    table.add_column("metric")
    table.add_column("filter")
    for model in models:
        table.add_column(model, justify="right")
    for key in dict.fromkeys((row.task, row.metric, row.filter) for row in found.rows):
        shown = []
        for model in models:
            row = cells.get((*key, model))
            error = "" if row is None or row.stderr is None else f" ± {row.stderr:.4f}"
            shown.append("-" if row is None else f"{row.value:.4f}{error}")
        table.add_row(*key, *shown)
    _print(table)


def _gpu() -> str:
    from copamerge.bench.estimate import GPU

    return GPU.name


def _title(model: Mapping[str, Any]) -> str:
    title = str(model["title"])
    if model["scale_rule"] in ("norm_match", "search"):
        title += f", {model['scale_rule'].replace('_', ' ')}"
    if model["search"]:
        title += f" x{model['search']['chosen']:g}"
    return title


def _print(table: "Table") -> None:
    """Every cell on one line, however narrow the terminal is."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    wide = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    Console(highlight=False, markup=False, emoji=False, width=max(wide, console.width)).print(table)


def _table(first: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    return table


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None or one["points"] is None:
        return "-"
    error = "" if one["stderr"] is None else f" ± {one['stderr']:.1f}"
    return f"{one['points']:.1f}{error}"


def _count(one: Mapping[str, Any] | None) -> str:
    return "-" if one is None or one["unreadable"] is None else str(one["unreadable"])


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def names_of(text: str | None) -> Sequence[str] | None:
    """`a,b` as a list; None stays None."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]
