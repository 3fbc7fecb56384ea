"""The whole report as a folder: page, tables, figures; all of it, or nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from copamerge._version import __version__
from copamerge.bench.metrics import MODES, Mode
from copamerge.errors import CopamergeError, OutputError
from copamerge.io._atomic import check_place, whole_folder
from copamerge.reports.figures import FROM_RUNS, draw
from copamerge.reports.gap_tables import gap_tables
from copamerge.reports.gaps import Gaps
from copamerge.reports.look import Drawn
from copamerge.reports.makeup import makeup
from copamerge.reports.markdown import escaped, grid_markdown, markdown, verdict_markdown
from copamerge.reports.page import Page, Section, html, makeup_title, title
from copamerge.reports.paper import paper_table
from copamerge.reports.run import GROUPS, Run
from copamerge.reports.spectra import Multiples, Spread, multiples, spreads
from copamerge.reports.spreadsheet import csv_text
from copamerge.reports.tables import (
    HEADINGS,
    Cell,
    Table,
    baseline,
    modes_differ,
    paper_source,
    scale_rules,
    table,
)
from copamerge.reports.verdicts import Verdicts, against, best, unjudged

PAGE, RECORD = "index.html", "report.json"
WRITTEN = {PAGE, RECORD, "tables.md", "tables", "figures"}
"""What a report consists of; a folder that holds more is not replaced."""
ORDER = tuple(HEADINGS)
RULES = ("", "-norm-match", "-search")
JUDGED = (
    *(f"{name}{tail}" for name in ("table2", "table3", "methods") for tail in RULES),
    *("table4", "table5", "table6", "table7"),
)
"""Experiments whose rows are compared; figures show standard errors."""
SHORT = {
    "table2": "Table 2",
    "table2-norm-match": "Second table",
    "table2-search": "Third table",
    "table3": "Table 3",
    "table3-norm-match": "Second table",
    "table3-search": "Third table",
    "table4": "Table 4",
    "table5": "Table 5",
    "methods": "Methods",
    "methods-norm-match": "Second table",
    "methods-search": "Third table",
    "tradeoff": "Trade-off",
}
SPECTRA_UP_TO = 8
"""Adapters that figures 2b and 2c look at."""

Progress = Callable[[int, int], None]


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    overwrite: bool = False,
    figures: bool = True,
    resamples: int = 2000,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the report on these runs and return the page.

    Raises:
        OutputError: the place is taken, or cannot be written.
        CopamergeError: matplotlib is missing, runs of unlike suites, scores that cannot be read.
    """
    check_report_place(out, overwrite=overwrite)
    suites = sorted({run.record.suite for run in runs})
    if not runs or len(suites) > 1:
        raise CopamergeError(
            f"runs of {len(suites)} suites ({', '.join(suites)}): give those of one suite"
            if runs
            else "no runs: give the folder that `copamerge bench` wrote"
        )
    page = _page(_in_order(runs), out, figures, resamples, _Counter(runs, figures, progress))
    with whole_folder(out, overwrite=overwrite, check=check_report_place) as folder:
        _write(folder, page)
    return out / PAGE


def check_report_place(out: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken; with `overwrite` an earlier report may be replaced.

    Raises:
        OutputError: it is taken, or no folder can be made there.
    """
    if not out.is_dir() or out.is_symlink():
        check_place(out, overwrite=False)
        return
    inside = {path.name for path in out.iterdir()}
    if not inside:
        return
    if RECORD not in inside or (out / "run.json").exists():
        raise OutputError(f"{out}: already exists and is not a report; choose another output")
    if others := sorted(inside - WRITTEN):
        raise OutputError(
            f"{out}: holds {', '.join(others[:3])} beside an earlier report, so it is not "
            "replaced; move that away or choose another output"
        )
    if not overwrite:
        raise OutputError(f"{out}: already exists; add --overwrite or choose another output")


class _Counter:
    """Steps done of all steps: comparisons and figures."""

    def __init__(self, runs: Sequence[Run], figures: bool, progress: Progress) -> None:
        judged = [run for run in runs if run.experiment in JUDGED]
        sets = sum(len(run.sets) * len(run.models) * (1 + len(scale_rules(run))) for run in judged)
        self.total = sets + len(runs) * (1 + figures) + 1
        self.done, self._progress = 0, progress

    def __call__(self, steps: int = 1) -> None:
        self.done = min(self.total, self.done + steps)
        self._progress(self.done, self.total)

    def finish(self) -> None:
        """What was counted as too many comparisons is done too."""
        self(self.total - self.done)


def _page(runs: Sequence[Run], out: Path, figures: bool, resamples: int, count: _Counter) -> Page:
    measured: tuple[Multiples, ...] = ()
    entries: tuple[Spread, ...] = ()
    remarks = [note for run in runs for note in run.record.notes]
    if figures:
        measured, entries, remark = _spectra(runs)
        remarks += [remark] if remark else []
    sections, drawn = [], set[str]()
    stems: dict[str, int] = {}
    for run in runs:
        name = run.experiment
        stems[name] = stems.get(name, 0) + 1
        stem = name if stems[name] == 1 else f"{name}-{stems[name]}"
        pictures: list[Drawn] = []
        why = undrawn(run) if figures and name in FROM_RUNS else None
        if why:
            remarks.append(f"{name} is not drawn for {run.path}: {why}")
        elif figures and name in FROM_RUNS and (name != "figure6c" or name not in drawn):
            same = [other for other in runs if other.experiment == name]
            one = draw(name, same if name == "figure6c" else [run], measured=measured)
            pictures.append(_named(one, stem))
            drawn.add(name)
        count(int(figures))
        sections.append(_section(run, stem, tuple(pictures), resamples, count))
        if name in JUDGED and (tasks := unjudged(run)):
            remarks.append(
                f"{name}: differences that {', '.join(tasks)} take part in are not judged: a "
                "single item, or a metric that is not known here"
            )
    more = []
    if figures and measured and "figure2b" not in drawn:
        more.append(draw("figure2b", (), measured=measured))
    if figures and entries:
        more.append(draw("figure2c", (), entries=entries))
    count.finish()
    return Page(tuple(sections), tuple(more), tuple(dict.fromkeys(remarks)), str(out))


def _named(drawn: Drawn, stem: str) -> Drawn:
    return Drawn(**{**vars(drawn), "name": stem})


def _section(
    run: Run, stem: str, figures: tuple[Drawn, ...], resamples: int, count: _Counter
) -> Section:
    from copamerge.bench.experiments import EXPERIMENTS

    brief = run.experiment == "table7"
    modes: tuple[Mode, ...] = MODES if modes_differ(run) else ("official",)
    tables = [table(run, mode, brief=brief) for mode in modes]
    gaps = Gaps(run, resamples)
    beside = [made for mode in modes for made in gap_tables(run, gaps, mode)]
    count()
    experiment = EXPERIMENTS.get(run.experiment)
    about = experiment.about if experiment else ""
    heading = HEADINGS.get(run.experiment, run.experiment)
    short = SHORT.get(run.experiment, experiment.source if experiment else "")
    if stem != run.experiment:
        short = f"{short} ({run.path.name})"
    verdicts = _verdicts(run, resamples, count) if run.experiment in JUDGED else ()
    return Section(
        stem=stem,
        short=short,
        heading=heading,
        about="" if figures else about,
        run=run,
        tables=tuple(tables),
        verdicts=verdicts,
        gaps=tuple(beside),
        gap_notes=gaps.missing if run.experiment in JUDGED and not beside else (),
        makeup=makeup(run),
        figures=figures,
        csv=csv_text(run, gaps),
    )


def undrawn(run: Run) -> str | None:
    """Why a run has no figure; None where it has: figures are of means."""
    if not run.record.averaged:
        return "its tasks have no mean"
    if run.experiment == "tradeoff" and len(run.groups) < 2:
        return f"it has {run.groups[0]} tasks only"
    return None


def _verdicts(run: Run, resamples: int, count: _Counter) -> tuple[Verdicts, ...]:
    """Every model against the copa of its scale rule, and every merge against the best one."""
    merges = [model.name for model in run.models if model.kind == "merge"]
    made = []
    for rule in scale_rules(run):
        copa = baseline(run, rule)
        alike = [m.name for m in run.models if m.kind != "merge" or m.scale_rule == rule]
        if copa is not None:
            made.append(against(run, copa, alike, resamples=resamples, done=count))
    top = best(run, merges)
    if top is not None and top not in {verdicts.against for verdicts in made}:
        made.append(against(run, top, merges, resamples=resamples, done=count))
    return tuple(verdicts for verdicts in made if verdicts.found)


def _in_order(runs: Sequence[Run]) -> list[Run]:
    def place(run: Run) -> int:
        return ORDER.index(run.experiment) if run.experiment in ORDER else len(ORDER)

    # The trade-off belongs to the first tables: it says what their scales are worth.
    late = {"tradeoff": ORDER.index("table2-search") + 0.5}
    return sorted(runs, key=lambda run: late.get(run.experiment, place(run)))


def _spectra(
    runs: Sequence[Run],
) -> tuple[tuple[Multiples, ...], tuple[Spread, ...], str | None]:
    """Measured on the zoo of the first run that still has one; else a remark that says why not."""
    for run in runs:
        zoo = Path(run.record.zoo) if run.record.zoo else None
        if zoo is None or not zoo.is_dir():
            continue
        folders = sorted(zoo.glob(f"{run.record.adapter_set or 'shared'}/*/adapter_config.json"))
        adapters = [config.parent for config in folders][:SPECTRA_UP_TO]
        if not adapters:
            continue
        full = {
            model.parent: zoo / "base" for model in sorted(zoo.glob("full/*/model.safetensors"))
        }
        try:
            return multiples(adapters), spreads(adapters, full), None
        except CopamergeError as error:
            return (), (), f"figures 2b and 2c: {error}"
    return (), (), "figures 2b (multiples) and 2c are left out: no run names a zoo that is here"


def _write(folder: Path, page: Page) -> None:
    (folder / "tables").mkdir()
    (folder / "figures").mkdir()
    texts = []
    for section in page.sections:
        text = _section_markdown(section)
        _put(folder / "tables" / f"{section.stem}.md", text)
        _put(folder / "tables" / f"{section.stem}.csv", section.csv)
        texts.append(text)
        for drawn in section.figures:
            _put_figure(folder, drawn)
    for drawn in page.figures:
        _put_figure(folder, drawn)
    caveats = "".join(f"{escaped(caveat)}\n\n" for caveat in page.caveats)
    _put(folder / "tables.md", caveats + "\n".join(texts))
    _put(folder / PAGE, html(page))
    _put(folder / RECORD, json.dumps(_record(page), indent=2, allow_nan=False) + "\n")


def _put_figure(folder: Path, drawn: Drawn) -> None:
    _put(folder / "figures" / f"{drawn.name}.svg", drawn.svg)
    (folder / "figures" / f"{drawn.name}.png").write_bytes(drawn.png)


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


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
    """What the report says, for programs; it also marks the folder as a report."""
    return {
        "copamerge": __version__,
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
