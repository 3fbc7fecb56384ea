"""Where a report's numbers come from: what was run, how long it took, how to repeat it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from shlex import quote

from copamerge.reports.document import bullets, flat, sortable
from copamerge.reports.paper import SOURCE
from copamerge.reports.run import Run
from copamerge.reports.tables import MISSING


def what_was_run(runs: Sequence[Run]) -> str:
    heads = [
        "Run",
        "Experiment",
        "Suite",
        "Items",
        "Seed",
        "Split",
        "Zoo",
        "Adapters",
        "Base",
        "Made",
    ]
    rows = []
    for run in runs:
        record = run.record
        cells = [
            str(run.path),
            run.experiment,
            record.suite,
            "all" if record.items is None else str(record.items),
            str(record.seed),
            record.split,
            run.own_zoo or "shipped",
            record.adapter_set or MISSING,
            (record.base_digest or MISSING)[:12],
            record.created or MISSING,
        ]
        row = "".join(f'<td class="word">{flat(cell)}</td>' for cell in cells)
        rows.append(f"<tr>{row}</tr>")
    versions = {
        ", ".join(
            f"{name} {number}" for name, number in run.record.versions.items() if number
        ): None
        for run in runs
        if run.record.versions
    }
    return (
        '<section id="runs"><h2>What was run</h2>'
        + sortable(
            heads, rows, "Items are those of each task; the base by the start of its hash", "words"
        )
        + bullets([f"Versions: {each}." for each in versions])
        + "</section>"
    )


def times(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        for model in run.models:
            cells = [
                f'<th scope="row">{flat(model.shown)}</th>',
                f'<td class="word">{flat(run.experiment)}</td>',
                *(_seconds(each) for each in (model.merge_seconds, model.answer_seconds)),
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
    table = sortable(
        ["Model", "Experiment", "Merge, s", "Evaluation, s"],
        rows,
        "Merging beside answering all items; what was answered before is not counted again",
    )
    return (
        '<section id="times"><h2>Time</h2><details><summary>Seconds by model</summary>'
        f"{table}</details></section>"
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return f"<td>{MISSING}</td>"
    return f'<td data-sort="{seconds!r}">{seconds:.2f}</td>'


def warnings(runs: Sequence[Run], remarks: Sequence[str]) -> str:
    found = list(remarks)
    for run in runs:
        for model in run.models:
            found += [f"{run.experiment}, {model.shown}: {warning}" for warning in model.warnings]
    text = bullets(list(dict.fromkeys(found))) if found else "<p>None.</p>"
    return f'<section id="warnings"><h2>Warnings</h2>{text}</section>'


def repeat(runs: Sequence[Run], out: str) -> str:
    lines = "\n".join(commands(runs, out))
    return (
        '<section id="repeat"><h2>How to repeat</h2>'
        f"<pre><code>{escape(lines)}</code></pre>"
        "<p>The scripts in <code>runs/</code> are these commands, one for each table and figure. "
        f"The paper: {escape(SOURCE)}.</p></section>"
    )


def commands(runs: Sequence[Run], out: str) -> list[str]:
    """What makes these runs and this report again."""
    lines = []
    for run in runs:
        record = run.record
        words = ["copamerge", "bench", record.suite_file or record.suite]
        if record.experiment:
            words += ["--experiment", record.experiment]
        else:
            methods = dict.fromkeys(m.method for m in run.models if m.method)
            words += ["--methods", ",".join(methods)] if methods else []
            if record.scale_rule not in (None, "published"):
                words += ["--scale", str(record.scale_rule)]
        if run.suite and record.tasks and len(record.tasks) < len(run.suite.tasks):
            words += ["--tasks", ",".join(record.tasks)]
        if record.data:
            words += ["--data", record.data]
        if record.base and (not record.zoo or Path(record.base) != Path(record.zoo) / "base"):
            words += ["--base", record.base]
        if record.items is not None:
            words += ["--items", str(record.items)]
        words += ["--seed", str(record.seed)]
        if record.split != "test":
            words += ["--split", record.split]
        if record.adapter_set:
            words += ["--adapters", record.adapter_set]
        if run.own_zoo:
            words += ["--zoo", run.own_zoo]
        lines.append(" ".join(map(quote, [*words, "-o", str(run.path)])))
    paths = [str(run.path) for run in runs]
    lines.append(" ".join(map(quote, ["copamerge", "report", *paths, "-o", out])))
    return lines
