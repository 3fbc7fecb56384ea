"""What a report on runs consists of: tables, figures and verdicts, in the paper's order."""

from collections.abc import Callable, Sequence
from pathlib import Path

from copamerge.bench.metrics import MODES, Mode
from copamerge.errors import CopamergeError
from copamerge.reports.figures import FROM_RUNS, draw
from copamerge.reports.gap_tables import gap_tables
from copamerge.reports.gaps import Gaps
from copamerge.reports.look import Drawn
from copamerge.reports.makeup import makeup
from copamerge.reports.page import Page, Section
from copamerge.reports.run import Run
from copamerge.reports.spectra import Multiples, Spread, multiples, spreads
from copamerge.reports.spreadsheet import csv_text
from copamerge.reports.tables import HEADINGS, baseline, modes_differ, scale_rules, table
from copamerge.reports.verdicts import Verdicts, against, best, unjudged

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


def page_of(
    runs: Sequence[Run],
    out: Path,
    *,
    figures: bool = True,
    resamples: int = 2000,
    progress: Progress = lambda done, total: None,
) -> Page:
    """Everything that is shown of these runs, all of one suite; `out` is named in the page.

    Raises:
        CopamergeError: matplotlib is missing, runs of unlike suites, scores that cannot be read.
    """
    suites = sorted({run.record.suite for run in runs})
    if not runs or len(suites) > 1:
        raise CopamergeError(
            f"runs of {len(suites)} suites ({', '.join(suites)}): give those of one suite"
            if runs
            else "no runs: give the folder that `copamerge bench` wrote"
        )
    return _page(_in_order(runs), out, figures, resamples, _Counter(runs, figures, progress))


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
