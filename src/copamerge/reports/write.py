"""The report on runs: a page, with tables and figures as files beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copamerge.reports.contents import Progress, page_of
from copamerge.reports.gaps import Gaps
from copamerge.reports.markdown import escaped, grid_markdown, markdown, verdict_markdown
from copamerge.reports.page import Page, Section, html, makeup_title, title
from copamerge.reports.paper import paper_table
from copamerge.reports.place import Made, check_report_place, is_page, put_report
from copamerge.reports.run import GROUPS, Run
from copamerge.reports.tables import (
    Cell,
    Table,
    paper_source,
)


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    overwrite: bool = False,
    figures: bool = True,
    resamples: int = 2000,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the report on these runs, a folder or (`NAME.html`) one page; return the page.

    Raises:
        OutputError: the place is taken, or cannot be written.
        CopamergeError: matplotlib is missing, runs of unlike suites, scores that cannot be read.
    """
    check_report_place(out, overwrite=overwrite)
    page = page_of(runs, out, figures=figures, resamples=resamples, progress=progress)
    return put_report(out, made_of(page, alone=is_page(out)), overwrite=overwrite)


def made_of(page: Page, *, alone: bool) -> Made:
    """The page; unless it stands `alone`, with tables and figures as files beside it."""
    if alone:
        return Made(html(page, linked=False))
    files: dict[str, str | bytes] = {}
    texts = []
    for section in page.sections:
        text = _section_markdown(section)
        files[f"tables/{section.stem}.md"] = text
        files[f"tables/{section.stem}.csv"] = section.csv
        texts.append(text)
    for drawn in (*(each for one in page.sections for each in one.figures), *page.figures):
        files[f"figures/{drawn.name}.svg"] = drawn.svg
        files[f"figures/{drawn.name}.png"] = drawn.png
    caveats = "".join(f"{escaped(caveat)}\n\n" for caveat in page.caveats)
    files["tables.md"] = caveats + "\n".join(texts)
    return Made(html(page), files, _record(page))


def _section_markdown(section: Section) -> str:
    parts = [f"## {escaped(title(section))}"]
    if section.about:
        parts.append(escaped(section.about, code=True))
    official, *others = section.tables
    parts.append(markdown(official))
    if section.verdicts:
        parts.append("### Which differences are differences")
        parts.append(verdict_markdown(section.run, section.verdicts))
    for other in others:
        parts.append("### Corrected scores")
        parts.append(markdown(other))
    parts += [escaped(note) for note in section.gap_notes]
    for beside in section.gaps:
        tail = "" if beside.mode == "official" else ", corrected"
        parts.append(f"### {escaped(beside.heading)}{tail}")
        parts.append(markdown(beside))
    if section.makeup:
        parts.append("### What the points are made of")
    for made in section.makeup:
        parts.append(f"#### {escaped(makeup_title(made))}")
        parts += [escaped(note) for note in made.notes]
        for grid in made.grids:
            parts.append(f"{escaped(grid.title)}:")
            parts.append(grid_markdown(grid))
            parts += [escaped(grid.note, code=True)] if grid.note else []
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _record(page: Page) -> dict[str, Any]:
    """What the report says, for programs."""
    return {
        "runs": [str(section.run.path) for section in page.sections],
        "sections": [_section_record(section) for section in page.sections],
        "remarks": list(page.remarks),
    }


def _section_record(section: Section) -> Mapping[str, Any]:
    return {
        "name": section.stem,
        "experiment": section.run.experiment,
        "run": str(section.run.path),
        "suite": section.run.record.suite,
        "averaged": section.run.record.averaged,
        "paper": _paper_record(section.run),
        "tables": [_table_record(made) for made in section.tables],
        "gaps": [_table_record(made) for made in section.gaps],
        "gaps_missing": list(Gaps(section.run).missing),
        "made_of": [
            row.model_dump(include=MADE_OF)
            for row in section.run.rows.values()
            if row.parts or row.categories or row.empty or row.unasked
        ],
        "figures": [drawn.name for drawn in section.figures],
        "verdicts": [
            {
                "model": verdict.model,
                "against": verdict.against,
                "group": verdict.group,
                "difference": verdict.comparison.difference,
                "low": verdict.comparison.low,
                "high": verdict.comparison.high,
                "p": verdict.comparison.p_value,
                "p_corrected": verdict.corrected,
                "verdict": verdict.word,
            }
            for verdicts in section.verdicts
            for verdict in verdicts.found
        ],
    }


MADE_OF = {
    *("model", "task", "mode", "items", "answers", "empty", "unasked", "unreadable"),
    *("parts", "categories"),
}


def _paper_record(run: Run) -> Mapping[str, Any] | None:
    printed = paper_table(run.record.suite, run.experiment)
    return None if printed is None else {"table": printed.label, "source": paper_source(run)}


def _table_record(made: Table) -> Mapping[str, Any]:
    return {
        "heading": made.heading,
        "mode": made.mode,
        "notes": list(made.notes),
        "models": {
            line.model.name: {
                head.key + (" mean" if head.key in GROUPS and head.mean else ""): _cell_record(cell)
                for head, cell in zip(made.heads, line.cells, strict=True)
            }
            for line in made.lines
        },
    }


def _cell_record(cell: Cell) -> Mapping[str, Any]:
    """Null points with the reason; a mean over fewer tasks says over how many."""
    more = {
        "paper": None if cell.paper is None else float(cell.paper),
        "reason": cell.reason if cell.points is None else cell.unsure,
        "fewer": cell.fewer,
    }
    there = {name: value for name, value in more.items() if value is not None}
    return {"points": cell.points, "stderr": cell.stderr, **there}
