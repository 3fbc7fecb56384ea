"""A run folder as the reports see it: checked, complete, read only."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files as resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from copamerge.bench.metrics import METRICS, Mode
from copamerge.bench.statistics import mean_standard_error
from copamerge.errors import CopamergeError, SuiteError, first_few
from copamerge.suites import SUITES, Suite, suite_named

Group = Literal["seen", "unseen"]
GROUPS: tuple[Group, ...] = ("seen", "unseen")
UNNAMED: Mapping[str, str] = MappingProxyType(
    {"mini": "table2", "mm-mergebench": "table2", "mm-general": "table3"}
)
"""Suite -> what a run of chosen methods is shown as; `methods` where no table is meant."""
RESUME = "run the command that made it again: what is finished is kept"


class _Read(BaseModel):
    # Fields that later versions add are not the report's business; NaN is never a score.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ModelRecord(_Read):
    """One model of a run, as `run.json` has it."""

    name: str = Field(pattern=r"^[^/\\\x00]+$")
    kind: Literal["zero-shot", "individual", "mtl", "merge", "adapter"]
    title: str
    method: str | None = None
    options: dict[str, Any] | None = None
    """All of them, as the merge resolved them."""
    adapter: Any = None
    """Where it lies: a path, one for each task, or None for the base alone."""
    digest: str | None = None
    """Of the adapter's config and weights; None for the base alone."""
    scale_rule: str | None = None
    multiple: FiniteFloat | None = None
    search: dict[str, Any] | None = None
    """What the search of a scale found, on the validation split."""
    merge_seconds: FiniteFloat | None = None
    answer_seconds: FiniteFloat | None = None
    warnings: tuple[str, ...] = ()
    failed: str | None = None
    x: FiniteFloat | str | None = None

    @property
    def is_published(self) -> bool:
        """Under its own scale; for what is no merge, and where nobody says, yes."""
        return self.scale_rule in (None, "published")

    @property
    def shown(self) -> str:
        """The title; a method's full name where the title is its name."""
        from copamerge.bench.entries import TITLES

        return TITLES.get(self.title, self.title) if self.title == self.method else self.title

    @property
    def changed(self) -> dict[str, Any]:
        """The options that are not the method's defaults; all of them for an unknown method."""
        from copamerge.methods import method_from

        try:
            usual = method_from(self.method or "").model_dump(mode="json")
        except CopamergeError:
            return self.options or {}
        return {
            option: value
            for option, value in (self.options or {}).items()
            if option not in usual or usual[option] != value
        }


class Row(_Read):
    """A model's points on one task in one mode; None, with a reason, where there are none."""

    model: str
    task: str
    seen: bool
    metric: str
    mode: Mode
    items: int | None
    """What was judged: answers, or groups of them; None where nothing was."""
    points: float | None
    stderr: float | None = None
    unreadable: int | None = None
    answers: int | None = None
    """Answers judged: more than `items` where several are judged together."""
    empty: int | None = None
    unasked: int | None = None
    parts: dict[str, FiniteFloat] = Field(default_factory=dict)
    categories: dict[str, dict[str, FiniteFloat]] = Field(default_factory=dict)
    reason: str | None = None


class Column(_Read):
    """A task as a column of a table."""

    task: str
    title: str
    seen: bool
    metric: str


class RunRecord(_Read):
    """`run.json`."""

    suite: str
    data: str | None = None
    """The folder of the suite's data; None where it is made by code."""
    suite_file: str | None = None
    """The file that describes it."""
    zoo: str | None = None
    base: str | None = None
    base_digest: str | None = None
    adapter_set: str | None = None
    items: int | None
    """Of each task; None: all it has."""
    seed: int
    split: str
    created: str | None = None
    versions: dict[str, Any] = Field(default_factory=dict)
    experiment: str | None = None
    scale_rule: str | None = None
    tasks: tuple[str, ...] | None = None
    columns: tuple[Column, ...] = ()
    averaged: bool = True
    """Whether a mean over the tasks says anything."""
    finished: bool = True
    notes: tuple[str, ...] = ()
    models: tuple[ModelRecord, ...] = ()

    @property
    def asked(self) -> str:
        """How much of each task was asked."""
        return "all items of each task" if self.items is None else f"{self.items} items a task"


class _Results(_Read):
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Mean:
    """The mean of the points over the tasks of a group, each counting the same."""

    points: float
    stderr: float | None
    """None where a task has none."""
    tasks: int


@dataclass(frozen=True)
class TaskSet:
    """Tasks over which models are compared: a group that has a mean, or one task."""

    key: str
    """`seen`, `unseen`, or the task's name."""
    title: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run."""

    path: Path
    record: RunRecord
    rows: Mapping[tuple[str, str, Mode], Row]
    """By model, task, mode."""

    @property
    def experiment(self) -> str:
        """What the run is shown as; a run of chosen methods is its suite's table."""
        if self.record.experiment:
            return self.record.experiment
        name = UNNAMED.get(self.record.suite, "methods")
        rules = {model.scale_rule or "published" for model in self.models if model.kind == "merge"}
        tail = {"norm_match": "-norm-match", "search": "-search"}
        return name + (tail.get(rules.pop(), "") if len(rules) == 1 else "")

    @property
    def models(self) -> tuple[ModelRecord, ...]:
        return self.record.models

    @cached_property
    def places(self) -> Mapping[str, float | str]:
        """Where models stand in a figure, by name: as recorded, or as the experiment has it."""
        from copamerge.bench.experiments import EXPERIMENTS

        known: dict[str, float | str] = {}
        if self.experiment in EXPERIMENTS and self.suite is not None:
            entries = EXPERIMENTS[self.experiment].models(self.suite)
            known = {entry.name: entry.x for entry in entries if entry.x is not None}
        return known | {model.name: model.x for model in self.models if model.x is not None}

    def model(self, name: str) -> ModelRecord:
        return next(model for model in self.models if model.name == name)

    @cached_property
    def suite(self) -> Suite | None:
        """None for a suite that this version does not know: columns then come from the record."""
        return _known_suite(self.record)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The tasks somebody was asked, in the suite's order, seen ones first."""
        found = {
            row.task: Column(task=row.task, title=row.task, seen=row.seen, metric=row.metric)
            for row in self.rows.values()
        }
        if self.record.columns:
            return tuple(column for column in self.record.columns if column.task in found)
        if self.suite is None:
            return tuple(sorted(found.values(), key=lambda column: not column.seen))
        return tuple(
            Column(task=task.name, title=task.title, seen=task.seen, metric=found[task.name].metric)
            for task in self.suite.tasks
            if task.name in found
        )

    def row(self, model: str, task: str, mode: Mode) -> Row | None:
        return self.rows.get((model, task, mode))

    def tasks_of(self, model: str, group: Group) -> tuple[str, ...]:
        """Tasks of a group that this model has points on."""
        return self.scored(model, self.asked(group))

    def asked(self, group: Group) -> tuple[str, ...]:
        return tuple(c.task for c in self.columns if c.seen == (group == "seen"))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Those that have tasks, and a mean; none where a mean says nothing."""
        return tuple(g for g in GROUPS if self.record.averaged and self.asked(g))

    @cached_property
    def sets(self) -> tuple[TaskSet, ...]:
        """What models are compared over: groups, or each task where no mean says anything."""
        if self.record.averaged:
            return tuple(TaskSet(g, g.capitalize(), self.asked(g)) for g in self.groups)
        return tuple(TaskSet(c.task, c.title, (c.task,)) for c in self.columns)

    def scored(self, model: str, tasks: Sequence[str]) -> tuple[str, ...]:
        """Those of the tasks that this model has points on."""
        rows = {task: self.row(model, task, "official") for task in tasks}
        return tuple(task for task, row in rows.items() if row and row.points is not None)

    def sampled(self, task: str) -> bool:
        """Whether the luck of its items can be told: a known metric, and two items at least."""
        column = next(column for column in self.columns if column.task == task)
        rows = [row for key, row in self.rows.items() if key[1] == task and row.points is not None]
        return column.metric in METRICS and min([row.items or 0 for row in rows], default=0) > 1

    def mean(self, model: str, group: Group, mode: Mode = "official") -> Mean | None:
        """Over the tasks of the group that the model has points on; None where there is none, or
        where the suite's tasks have no mean.

        A figure may ask for fewer tasks than the suite has (figure 4); tables show `tasks` where
        it is less than the others'.
        """
        rows = [self.rows[model, task, mode] for task in self.tasks_of(model, group)]
        points = [row.points for row in rows if row.points is not None]
        errors = [row.stderr for row in rows if row.stderr is not None]
        if not points or not self.record.averaged:
            return None
        stderr = mean_standard_error(errors) if len(errors) == len(points) else None
        return Mean(sum(points) / len(points), stderr, len(points))

    def statistics(self, model: str, task: str, mode: Mode) -> Float64[np.ndarray, "items k"]:
        """The numbers per item that the points are made of.

        Raises:
            SuiteError: the file is gone, or is not what `results.json` counted.
        """
        path = self.scores_file(model, task)
        try:
            with np.load(path, allow_pickle=False) as stored:
                found: Float64[np.ndarray, "items k"] = np.asarray(stored[mode], dtype=np.float64)
        except (OSError, ValueError, KeyError) as error:
            raise SuiteError(f"{path}: cannot be read as scores ({error}); {RESUME}") from None
        wanted = self.rows[model, task, mode].items
        if found.ndim != 2 or len(found) != wanted:
            raise SuiteError(
                f"{path}: has shape {found.shape}, but results.json counts {wanted} items; {RESUME}"
            )
        return found

    def combine(self, task: str) -> Callable[..., Any]:
        """What makes points of the mean of `statistics`.

        Raises:
            SuiteError: the task's metric is not known to this version.
        """
        metric = next(column.metric for column in self.columns if column.task == task)
        if metric not in METRICS:
            raise SuiteError(f"{self.path}: metric {metric!r} of task {task!r} is not known here")
        return METRICS[metric].combine

    def scores_file(self, model: str, task: str) -> Path:
        return self.path / "scores" / model / f"{task}.npz"

    @property
    def own_zoo(self) -> str | None:
        """The zoo's folder; None for the one that ships."""
        shipped = resources("copamerge") / "zoo" / "mini"
        return None if self.record.zoo == str(shipped) else self.record.zoo


def open_runs(paths: Sequence[Path]) -> tuple[Run, ...]:
    """All of these run folders.

    Raises:
        CopamergeError: what is wrong with each of them, all at once.
    """
    runs, problems, seen = [], [], set[Path]()
    for path in paths:
        if path.resolve() in seen:
            problems.append(f"{path}: given twice")
            continue
        seen.add(path.resolve())
        try:
            runs.append(open_run(path))
        except CopamergeError as error:
            problems += error.problems
    if problems:
        raise SuiteError(problems)
    return tuple(runs)


def open_run(path: Path) -> Run:
    """A run folder that `copamerge bench` finished.

    Raises:
        SuiteError: not a run folder, an unfinished one, or one whose files do not agree.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise SuiteError(f"{path}: {what}; give the folder that `copamerge bench` wrote (-o)")
    if not (path / "run.json").is_file():
        inside = sorted(each.parent.name for each in path.glob("*/run.json"))
        hint = f"; its folders {', '.join(inside[:4])} are: give those" if inside else ""
        raise SuiteError(
            f"{path}: not a run folder (no run.json in it){hint or '; give what bench wrote (-o)'}"
        )
    record = _read(path / "run.json", RunRecord)
    _check_names(path, record)
    if not record.finished or not record.models or not (path / "results.json").is_file():
        raise SuiteError(_unfinished(path, record))
    models = {model.name: model for model in record.models}
    rows = {
        (row.model, row.task, row.mode): _explained(row, models.get(row.model))
        for row in _read(path / "results.json", _Results).rows
    }
    run = Run(path, record, rows)
    scored = [(row.model, row.task) for row in rows.values() if row.points is not None]
    scored = list(dict.fromkeys(scored))
    lost = [pair for pair in scored if not run.scores_file(*pair).is_file()]
    if lost:
        raise SuiteError(f"{path}: {len(lost)} of {len(scored)} scores are missing; {RESUME}")
    strangers = sorted({key[0] for key in rows} ^ models.keys())
    if strangers:
        raise SuiteError(
            f"{path}: run.json and results.json are not of the same models "
            f"({', '.join(strangers[:3])}); {RESUME}"
        )
    if not scored:
        why = next((f": {m.failed}" for m in record.models if m.failed), "")
        raise SuiteError(f"{path}: no model has any points{why}")
    return run


def _explained(row: Row, model: ModelRecord | None) -> Row:
    """A row without points says why; results.json leaves that to run.json."""
    if row.points is not None or row.reason or model is None:
        return row
    if model.failed:
        return row.model_copy(update={"reason": f"failed: {model.failed}"})
    own = model.kind == "individual" and not row.seen
    return row.model_copy(
        update={"reason": "no adapter was trained on it" if own else "not answered"}
    )


def _check_names(path: Path, record: RunRecord) -> None:
    names = [model.name for model in record.models]
    # A name is a folder of scores: `..` would lead out of the run.
    bad = [name for name in names if name in (".", "..")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if bad or twice:
        what = f"the model name {bad[0]!r}" if bad else f"two models named {twice[0]!r}"
        raise SuiteError(f"{path / 'run.json'}: {what}; not written by `copamerge bench`")


def _unfinished(path: Path, record: RunRecord) -> str:
    done = len(list((path / "answers").glob("[!.]*.jsonl")))
    wanted = _units(record)
    if wanted is None:
        count = f"{done} units answered so far"
    else:
        # Models with equal adapters share their answers, so fewer may be missing.
        count = f"up to {max(0, wanted - done)} of {wanted} units are missing"
    return f"{path}: interrupted, {count}; {RESUME}"


def _units(record: RunRecord) -> int | None:
    """How many units an experiment has; None where the record does not say what was to be run."""
    from copamerge.bench.experiments import EXPERIMENTS
    from copamerge.bench.units import CHUNK

    experiment = EXPERIMENTS.get(record.experiment or "")
    suite = _known_suite(record)
    if experiment is None or suite is None or record.items is None:
        return None
    tasks = 0
    for entry in experiment.models(suite):
        names = entry.tasks or [task.name for task in suite.tasks]
        seen = {task.name for task in suite.seen}
        tasks += sum(name in seen or entry.kind != "individual" for name in names)
    return tasks * -(-record.items // CHUNK)


def _known_suite(record: RunRecord) -> Suite | None:
    if record.suite not in SUITES:
        return None
    try:
        return suite_named(record.suite, Path(record.data) if record.data else None)
    except CopamergeError:
        # A suite of the user's own, whose file is not there any more.
        return None


_Model = TypeVar("_Model", bound=BaseModel)


def _read(path: Path, kind: type[_Model]) -> _Model:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return kind.model_validate(content)
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        problems = [
            f"{path}: {'.'.join(map(str, each['loc'])) or 'content'}: {each['msg']}"
            for each in error.errors()
        ]
        raise SuiteError(first_few(problems, str(path), "more problems")) from None
    except ValueError as error:
        raise SuiteError(f"{path}: not valid JSON ({error}); {RESUME}") from None
