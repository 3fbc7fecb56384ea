"""The page on runs of the benchmark: what is shown of them, and in which order."""

from dataclasses import dataclass, field
from html import escape

from copamerge.reports.document import (
    bullets,
    document,
    figure,
    flat,
    plain_cell,
    sortable,
    ticked,
)
from copamerge.reports.look import Drawn
from copamerge.reports.makeup import Makeup
from copamerge.reports.paper import CAVEATS
from copamerge.reports.provenance import repeat, times, warnings, what_was_run
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


def html(page: Page, *, linked: bool = True) -> str:
    """The whole page; `linked` to the tables and figures that are files beside it."""
    runs = list({section.run.path: section.run for section in page.sections}.values())
    suite = runs[0].record.suite
    body = [
        f"<header><h1>{escape(suite_title(suite))}</h1>",
        _summary(page.sections[0]),
        *(f'<p class="caveat">{ticked(caveat)}</p>' for caveat in page.caveats),
        _nav(page),
        "</header><main>",
        *(_section(section, linked) for section in page.sections),
    ]
    if page.figures:
        body += ['<section id="more-figures"><h2>Adapters</h2>']
        body += [figure(drawn, linked=linked) for drawn in page.figures]
        body.append("</section>")
    body += [what_was_run(runs), times(runs), warnings(runs, page.remarks)]
    body += [repeat(runs, page.out), "</main>"]
    return document(f"copamerge report: {suite}", body)


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


def _section(section: Section, linked: bool) -> str:
    parts = [f'<section id="{escape(section.stem)}"><h2>{escape(title(section))}</h2>']
    if section.about:
        parts.append(f"<p>{escape(section.about)}</p>")
    parts += [figure(drawn, linked=linked) for drawn in section.figures]
    # A figure's numbers are there for who wants them, not in everybody's way.
    folded = bool(section.figures)
    for table in section.tables:
        official = table.mode == "official"
        notes = bullets(table.notes)
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
    parts += [*_gaps(section, folded), bullets(section.gap_notes)]
    if section.makeup:
        parts.append(
            "<details><summary>What the points are made of</summary>"
            + "".join(map(_makeup, section.makeup))
            + "</details>"
        )
    if linked:
        files = f"tables/{section.stem}"
        parts.append(
            f'<p class="files">Files: <a href="{escape(files)}.md">Markdown</a>, '
            f'<a href="{escape(files)}.csv">CSV</a></p>'
        )
    parts.append("</section>")
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
        body = _table(table, _scoring(section.run, table)) + bullets(table.notes)
        if i == 0 and not folded:
            parts.append(f"<h3>{escape(name)}</h3>{body}")
        else:
            parts.append(f"<details><summary>{escape(name)}</summary>{body}</details>")
    return parts


def _makeup(made: Makeup) -> str:
    parts = [f"<h3>{flat(makeup_title(made))}</h3>", bullets(made.notes)]
    for grid in made.grids:
        rows = []
        for model, cells in grid.rows:
            row = f'<th scope="row">{flat(model.shown)}</th>'
            rows.append(f"<tr>{row}{''.join(map(plain_cell, cells))}</tr>")
        parts.append(sortable(["Model", *grid.heads], rows, grid.title))
        parts.append(bullets([grid.note] if grid.note else []))
    return "".join(parts)


def makeup_title(made: Makeup) -> str:
    """`POPE`, `POPE, corrected`."""
    return made.column.title + ("" if made.mode == "official" else ", corrected")


def _table(table: Table, caption: str) -> str:
    heads = ["Method", *(f"{head.title} {head.dagger}".rstrip() for head in table.heads)]
    heads += table.extras
    rows = []
    for line in table.lines:
        cells = [f'<th scope="row">{flat(line.model.shown)}</th>']
        for head, cell in zip(table.heads, line.cells, strict=True):
            cells.append(_cell(cell, head.mean))
        cells += [f"<td>{escape(line.extra(head))}</td>" for head in table.extras]
        rows.append(f'<tr class="{line.model.kind}">{"".join(cells)}</tr>')
    paper = "; the paper's numbers below ours in grey" if table.has_paper else ""
    return sortable(heads, rows, caption + paper)


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
        cells = [f'<th scope="row">{flat(row[0])}</th>']
        for text in row[1:]:
            word = text.split(" by ")[0] if " by " in text else "none"
            cells.append(f'<td class="verdict {escape(word)}">{escape(text)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    notes = bullets(verdict_notes(section.run, section.verdicts))
    return (
        "<h3>Which differences are differences</h3>"
        + sortable(heads, lines, "Points, 95 % interval over items", "words")
        + notes
    )
