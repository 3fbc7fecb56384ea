"""One self-contained HTML page: no network, no library, every foreign text escaped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from shlex import quote

from copamerge.reports.figures import Drawn
from copamerge.reports.makeup import Makeup
from copamerge.reports.paper import CAVEATS, SOURCE
from copamerge.reports.run import Run
from copamerge.reports.tables import MISSING, Cell, Table, baseline, shown
from copamerge.reports.verdict_table import verdict_notes, verdict_rows
from copamerge.reports.verdicts import Verdicts


@dataclass(frozen=True)
class Section:
    """One run with everything that is shown of it."""

    stem: str
    """Names its files and its place in the page."""
    short: str
    """The paper's table or figure."""
    heading: str
    about: str
    run: Run
    tables: tuple[Table, ...]
    """The official scores, and the corrected ones where they differ."""
    verdicts: tuple[Verdicts, ...] = ()
    gaps: tuple[Table, ...] = ()
    """Against individual and multi-task models, in the modes of `tables`: each mean, each task."""
    gap_notes: tuple[str, ...] = ()
    """Why there are none."""
    makeup: tuple[Makeup, ...] = ()
    csv: str = ""
    """All numbers as one table for a spreadsheet."""
    figures: tuple[Drawn, ...] = ()


@dataclass(frozen=True)
class Page:
    """All that the page says."""

    sections: tuple[Section, ...]
    figures: tuple[Drawn, ...] = field(default=())
    """Figures of no single run."""
    remarks: tuple[str, ...] = ()
    """What is not there, and why."""
    out: str = "report"

    @property
    def caveats(self) -> tuple[str, ...]:
        """How far the paper's numbers on the page may be compared; none without such numbers."""
        with_paper = [x.run for x in self.sections if any(t.has_paper for t in x.tables)]
        suites = dict.fromkeys(run.record.suite for run in with_paper)
        # The mini suite looks like the paper's, so it says what it is in any case.
        first = self.sections[0].run.record.suite
        if first == "mini":
            suites[first] = None
        return tuple(CAVEATS[suite] for suite in suites if suite in CAVEATS)


RELEASED = ("mini", "mm-mergebench", "mm-general")
"""Suites whose official scores repeat the released code."""


def suite_title(suite: str) -> str:
    """What a page on a suite is called."""
    return "MM-MergeBench mini" if suite == "mini" else suite


def html(page: Page) -> str:
    """The whole page."""
    runs = list({section.run.path: section.run for section in page.sections}.values())
    suite = runs[0].record.suite
    body = [
        f"<header><h1>{escape(suite_title(suite))}</h1>",
        _summary(page.sections[0]),
        *(f'<p class="caveat">{_ticked(caveat)}</p>' for caveat in page.caveats),
        _nav(page),
        "</header><main>",
        *map(_section, page.sections),
    ]
    if page.figures:
        body += ['<section id="more-figures"><h2>Adapters</h2>', *map(_figure, page.figures)]
        body.append("</section>")
    body += [_what_was_run(runs), _times(runs), _warnings(runs, page.remarks)]
    body += [_repeat(runs, page.out), "</main>"]
    return _DOCUMENT.format(
        policy=_POLICY,
        title=escape(f"copamerge report: {suite}"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        body="\n".join(body),
    )


def _summary(section: Section) -> str:
    """What the first table says, in words: which merges differ from copa."""
    run = section.run
    copa = baseline(run)
    verdicts = next((v for v in section.verdicts if v.against == copa), None)
    merges = [m for m in run.models if m.kind == "merge"]
    text = f"{len(merges)} merges, {len(run.columns)} tasks, {run.record.asked}."
    found = []
    for over in run.sets if verdicts else ():
        words: dict[str, list[str]] = {"better": [], "worse": [], "no difference shown": []}
        for model in merges:
            verdict = verdicts.of(model.name, over.key) if verdicts else None
            if verdict is not None:
                words[verdict.word].append(model.shown)
        said = "; ".join(f"{word}: {', '.join(titles)}" for word, titles in words.items() if titles)
        if verdicts and said:
            against = run.model(verdicts.against).shown
            what = f"{over.title} tasks" if run.record.averaged else over.title
            found.append(f"{what}, against {against}: {said}.")
    items = "".join(f"<li>{escape(each)}</li>" for each in found)
    return f"<p>{escape(text)}</p>" + (f"<ul>{items}</ul>" if items else "")


def _nav(page: Page) -> str:
    links = [(section.stem, section.short) for section in page.sections]
    links += [("more-figures", "Adapters")] if page.figures else []
    links += [("runs", "What was run"), ("times", "Time"), ("warnings", "Warnings")]
    links += [("repeat", "How to repeat")]
    items = "".join(f'<li><a href="#{escape(to)}">{escape(text)}</a></li>' for to, text in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def title(section: Section) -> str:
    """`Table 6: parts of copa switched off`."""
    heading = section.heading
    if not section.short:
        return heading
    return f"{section.short}: {heading[:1].lower()}{heading[1:]}"


def _section(section: Section) -> str:
    parts = [f'<section id="{escape(section.stem)}"><h2>{escape(title(section))}</h2>']
    if section.about:
        parts.append(f"<p>{escape(section.about)}</p>")
    parts += map(_figure, section.figures)
    # A figure's numbers are there for who wants them, not in everybody's way.
    folded = bool(section.figures)
    for table in section.tables:
        official = table.mode == "official"
        notes = _list(table.notes)
        caption = _scoring(section.run, table)
        if official and not folded:
            parts.append(_table(table, caption) + notes)
            if section.verdicts:
                parts.append(_verdicts(section))
        else:
            name = "The numbers" if official else "Corrected scores"
            parts.append(
                f"<details><summary>{name}</summary>{_table(table, caption)}{notes}</details>"
            )
    parts += [*_gaps(section, folded), _list(section.gap_notes)]
    if section.makeup:
        parts.append(
            "<details><summary>What the points are made of</summary>"
            + "".join(map(_makeup, section.makeup))
            + "</details>"
        )
    files = f"tables/{section.stem}"
    parts.append(
        f'<p class="files">Files: <a href="{escape(files)}.md">Markdown</a>, '
        f'<a href="{escape(files)}.csv">CSV</a></p></section>'
    )
    return "\n".join(parts)


def _scoring(run: Run, table: Table) -> str:
    """What the mode of a table is, for readers."""
    if run.record.suite not in RELEASED:
        return f"{table.mode.capitalize()} scores"
    return (
        "Scored as the released code does"
        if table.mode == "official"
        else ("Scored without its bugs")
    )


def _gaps(section: Section, folded: bool) -> list[str]:
    """The first table open, the others, and those of a section with figures, folded."""
    parts = []
    for i, table in enumerate(section.gaps):
        official = table.mode == "official"
        name = table.heading + ("" if official else ", corrected")
        body = _table(table, _scoring(section.run, table)) + _list(table.notes)
        if i == 0 and not folded:
            parts.append(f"<h3>{escape(name)}</h3>{body}")
        else:
            parts.append(f"<details><summary>{escape(name)}</summary>{body}</details>")
    return parts


def _makeup(made: Makeup) -> str:
    parts = [f"<h3>{_text(makeup_title(made))}</h3>", _list(made.notes)]
    for grid in made.grids:
        rows = []
        for model, cells in grid.rows:
            row = f'<th scope="row">{_text(model.shown)}</th>'
            rows.append(f"<tr>{row}{''.join(map(_plain_cell, cells))}</tr>")
        parts.append(_grid(["Model", *grid.heads], rows, grid.title))
        parts.append(_list([grid.note] if grid.note else []))
    return "".join(parts)


def makeup_title(made: Makeup) -> str:
    """`POPE`, `POPE, corrected`."""
    return made.column.title + ("" if made.mode == "official" else ", corrected")


def _plain_cell(text: str) -> str:
    key = "" if text == MISSING else f' data-sort="{escape(text)}"'
    return f"<td{key}>{escape(text)}</td>"


def _table(table: Table, caption: str) -> str:
    heads = ["Method", *(f"{head.title} {head.dagger}".rstrip() for head in table.heads)]
    heads += table.extras
    rows = []
    for line in table.lines:
        cells = [f'<th scope="row">{_text(line.model.shown)}</th>']
        for head, cell in zip(table.heads, line.cells, strict=True):
            cells.append(_cell(cell, head.mean))
        cells += [f"<td>{escape(line.extra(head))}</td>" for head in table.extras]
        rows.append(f'<tr class="{line.model.kind}">{"".join(cells)}</tr>')
    paper = "; the paper's numbers below ours in grey" if table.has_paper else ""
    return _grid(heads, rows, caption + paper)


def _cell(cell: Cell, mean: bool) -> str:
    kind = ' class="mean"' if mean else ""
    paper = f'<small class="paper">{cell.paper}</small>' if cell.paper else ""
    reason = cell.reason if cell.points is None else cell.unsure
    reason = f' title="{escape(reason)}"' if reason else ""
    if cell.points is None:
        return f"<td{kind}{reason}>{MISSING}{paper}</td>"
    ours, _, error = shown(cell).partition(" ± ")
    error = f"<small>±{escape(error)}</small>" if error else ""
    return f'<td{kind}{reason} data-sort="{cell.points!r}">{escape(ours)} {error}{paper}</td>'


def _verdicts(section: Section) -> str:
    heads, rows = verdict_rows(section.run, section.verdicts)
    lines = []
    for row in rows:
        cells = [f'<th scope="row">{_text(row[0])}</th>']
        for text in row[1:]:
            word = text.split(" by ")[0] if " by " in text else "none"
            cells.append(f'<td class="verdict {escape(word)}">{escape(text)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    notes = _list(verdict_notes(section.run, section.verdicts))
    return (
        "<h3>Which differences are differences</h3>"
        + _grid(heads, lines, "Points, 95 % interval over items", "words")
        + notes
    )


def _grid(heads: Sequence[str], rows: Sequence[str], caption: str, kind: str = "") -> str:
    head = "".join(
        f'<th scope="col"><button type="button">{_text(each)}</button></th>' for each in heads
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figure(drawn: Drawn) -> str:
    name = escape(drawn.name)
    return (
        f'<figure id="fig-{name}"><div class="paper-white">{inline_svg(drawn)}</div>'
        f"<figcaption><strong>{escape(drawn.title)}.</strong> {escape(drawn.caption)} "
        f'<a href="figures/{name}.svg">SVG</a> <a href="figures/{name}.png">PNG</a>'
        "</figcaption></figure>"
    )


def inline_svg(drawn: Drawn) -> str:
    """The figure without prolog and comments, its ids its own in the page, with its title."""
    svg = drawn.svg[drawn.svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    prefix = f"{re.sub(r'[^A-Za-z0-9-]', '-', drawn.name)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(drawn.title)}"', 1)


def _what_was_run(runs: Sequence[Run]) -> str:
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
        row = "".join(f'<td class="word">{_text(cell)}</td>' for cell in cells)
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
        + _grid(
            heads, rows, "Items are those of each task; the base by the start of its hash", "words"
        )
        + _list([f"Versions: {each}." for each in versions])
        + "</section>"
    )


def _times(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        for model in run.models:
            cells = [
                f'<th scope="row">{_text(model.shown)}</th>',
                f'<td class="word">{_text(run.experiment)}</td>',
                *(_seconds(each) for each in (model.merge_seconds, model.answer_seconds)),
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
    table = _grid(
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


def _warnings(runs: Sequence[Run], remarks: Sequence[str]) -> str:
    found = list(remarks)
    for run in runs:
        for model in run.models:
            found += [f"{run.experiment}, {model.shown}: {warning}" for warning in model.warnings]
    text = _list(list(dict.fromkeys(found))) if found else "<p>None.</p>"
    return f'<section id="warnings"><h2>Warnings</h2>{text}</section>'


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


def _repeat(runs: Sequence[Run], out: str) -> str:
    lines = "\n".join(commands(runs, out))
    return (
        '<section id="repeat"><h2>How to repeat</h2>'
        f"<pre><code>{escape(lines)}</code></pre>"
        "<p>The scripts in <code>runs/</code> are these commands, one for each table and figure. "
        f"The paper: {escape(SOURCE)}.</p></section>"
    )


def _list(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{_ticked(text)}</li>" for text in texts) + "</ul>"


def _ticked(text: str) -> str:
    """Escaped, with `code` in backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _text(text: str) -> str:
    return escape(" ".join(text.split()))


def _asset(name: str) -> str:
    return (files("copamerge.reports") / name).read_text(encoding="utf-8")


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page asks nobody for anything, and nothing that gets into it can."""

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""
