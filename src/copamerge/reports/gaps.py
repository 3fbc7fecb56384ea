"""How far a model is from the models of single tasks, and from the one trained on all of them.

Standard errors are by a paired bootstrap: all models of a run are drawn on the same items, so what
makes an item hard for two models takes no part in their difference or ratio. Tasks share no items
and are drawn each on its own; adapters and tasks are taken as given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float64

from copamerge.bench.metrics import MODES, Mode
from copamerge.bench.statistics import resampled_points
from copamerge.reports.paper import PaperRow, PaperTable
from copamerge.reports.run import ModelRecord, Run, TaskSet

Measure = Literal["individual", "mtl", "normalised"]
"""`individual`, `mtl`: points minus theirs. `normalised`: points in percent of individual's."""
Draws = Float64[np.ndarray, " resamples"]

NAMES = {"individual": "individual", "mtl": "MTL"}
MEASURES: Mapping[Measure, str] = MappingProxyType(
    {
        "individual": "Points less the individual models'",
        "mtl": "Points less the multi-task model's",
        "normalised": "Points in percent of the individual models'",
    }
)
"""Each as a heading."""


@dataclass(frozen=True)
class Gap:
    """One model against a reference, over the tasks of a column; None with a reason."""

    value: float | None
    stderr: float | None = None
    reason: str | None = None
    """Why there is no value."""
    unsure: str | None = None
    """Why a value has no standard error."""
    tasks: int = 0
    """How many tasks went into it."""


@dataclass(frozen=True)
class Column:
    """What one number of a model is: a measure over a set of tasks."""

    measure: Measure
    over: TaskSet
    mean: bool
    """Over a whole group, not over one task."""

    @property
    def title(self) -> str:
        """`Seen − MTL`, `Seen, % of individual`; the task's where it is one task."""
        if not self.mean:
            return self.over.title
        if self.measure == "normalised":
            return f"{self.over.title}, % of individual"
        return f"{self.over.title} − {NAMES[self.measure]}"

    @property
    def key(self) -> str:
        """`seen less mtl`, `iconqa percent of individual`."""
        if self.measure == "normalised":
            return f"{self.over.key} percent of individual"
        return f"{self.over.key} less {self.measure}"


@dataclass(frozen=True, eq=False)
class Gaps:
    """Every model of a run against its individual models and its multi-task model."""

    run: Run
    resamples: int = 2000

    @cached_property
    def _drawn(self) -> dict[tuple[str, str, Mode], Draws]:
        return {}

    def reference(self, measure: Measure) -> ModelRecord | None:
        """The first model of the kind in the run; None where it has none."""
        kind = "mtl" if measure == "mtl" else "individual"
        return next((model for model in self.run.models if model.kind == kind), None)

    @cached_property
    def columns(self) -> Mapping[str, tuple[Column, ...]]:
        """By heading: the means over groups, if there are means, then each measure by task.

        A set of tasks on which the reference has no points has no column, and what has no column
        no heading.
        """
        found = {}
        if self.run.record.averaged:
            found["Beside individual and multi-task models"] = self._columns(
                MEASURES, self.run.sets, True
            )
        tasks = [TaskSet(c.task, c.title, (c.task,)) for c in self.run.columns]
        for measure, heading in MEASURES.items():
            found[f"{heading}, by task"] = self._columns([measure], tasks, False)
        return {heading: columns for heading, columns in found.items() if columns}

    def _columns(
        self, measures: Iterable[Measure], sets: Sequence[TaskSet], mean: bool
    ) -> tuple[Column, ...]:
        return tuple(
            Column(measure, over, mean)
            for measure in measures
            if (reference := self.reference(measure)) is not None
            for over in sets
            if self.run.scored(reference.name, over.tasks)
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """Why measures have no column, and which of several references is meant, for readers."""
        found = []
        for kind, words in (("individual", "individual models"), ("mtl", "multi-task models")):
            alike = [model for model in self.run.models if model.kind == kind]
            if len(alike) > 1:
                found.append(f"Of {len(alike)} rows of {words} the first counts: {alike[0].shown}.")
        if self.reference("individual") is None:
            found.append(
                "Nothing is compared with individual models or normalised by them: the run has "
                "none."
            )
        elif not any(c.measure == "individual" for each in self.columns.values() for c in each):
            found.append(
                "Nothing is compared with individual models or normalised by them: no adapter "
                "was trained on these tasks."
            )
        if self.reference("mtl") is None:
            found.append("Nothing is compared with a multi-task model: the run has none.")
        return tuple(found)

    def of(self, model: str, column: Column, mode: Mode) -> Gap:
        """One model's number in a column.

        Raises:
            SuiteError: a file of scores cannot be read.
        """
        run = self.run
        reference = self.reference(column.measure)
        if reference is None:
            return Gap(None, reason=f"the run has no {column.measure} model")
        tasks = run.scored(model, column.over.tasks)
        if not tasks:
            rows = [run.row(model, task, mode) for task in column.over.tasks]
            reasons = dict.fromkeys(row.reason for row in rows if row and row.reason)
            return Gap(None, reason="; ".join(reasons) or "not asked")
        values = []
        for task in tasks:
            mine, theirs = self._points(model, task, mode), self._points(reference.name, task, mode)
            if mine is None or theirs is None:
                return Gap(None, reason=f"{reference.shown} has no points on {task}")
            if column.measure == "normalised" and theirs == 0:
                return Gap(None, reason=f"{reference.shown} has 0 points on {task}")
            values.append(_measured(column.measure, np.array(mine), np.array(theirs)))
        value = float(np.mean(values))
        stderr, unsure = self._error(model, reference.name, tasks, column, mode)
        return Gap(value, stderr, unsure=unsure, tasks=len(tasks))

    def _points(self, model: str, task: str, mode: Mode) -> float | None:
        row = self.run.row(model, task, mode)
        return None if row is None else row.points

    def _error(
        self, model: str, reference: str, tasks: Sequence[str], column: Column, mode: Mode
    ) -> tuple[float | None, str | None]:
        total = np.zeros(self.resamples)
        for task in tasks:
            if not self.run.sampled(task):
                return None, f"{task}: a single item, or a metric that is not known here"
            rows = [self.run.rows[name, task, mode] for name in (model, reference)]
            if rows[0].items != rows[1].items:
                return None, f"{task}: asked {rows[0].items} and {rows[1].items} items"
            mine, theirs = (self._draws(name, task, mode) for name in (model, reference))
            if column.measure == "normalised" and not theirs.all():
                return None, f"{task}: the individual model has 0 points in some resamples"
            total += _measured(column.measure, mine, theirs)
        return float((total / len(tasks)).std(ddof=1)), None

    def _draws(self, model: str, task: str, mode: Mode) -> Draws:
        key = (model, task, mode)
        if key not in self._drawn:
            numbers = self.run.statistics(model, task, mode)
            for other in MODES:
                twin = self._drawn.get((model, task, other))
                if twin is not None and np.array_equal(
                    numbers, self.run.statistics(model, task, other)
                ):
                    self._drawn[key] = twin
                    return twin
            self._drawn[key] = resampled_points(
                numbers,
                self.run.combine(task),
                stream=self._stream(task),
                resamples=self.resamples,
            )
        return self._drawn[key]

    def _stream(self, task: str) -> int:
        """The place of the task among those of its set: verdicts draw the same items then."""
        over = next(each for each in self.run.sets if task in each.tasks)
        return over.tasks.index(task)


def paper_gap(
    printed: PaperTable | None, row: PaperRow | None, column: Column, whole: bool
) -> float | None:
    """The same from the paper's numbers; None where they do not give it.

    `whole`: our set of tasks is the paper's, so that its mean is over the same tasks.
    """
    if printed is None or row is None:
        return None
    group = {"seen": printed.seen, "unseen": printed.unseen}.get(column.over.key, ())
    if column.mean and not (whole and group):
        return None
    if column.measure == "normalised":
        return printed.normalised(row, group if column.mean else column.over.tasks)
    other = printed.rows.get(column.measure)
    if other is None:
        return None
    if column.mean:
        seen = column.over.key == "seen"
        pair = (row.seen, other.seen) if seen else (row.unseen, other.unseen)
    else:
        (task,) = column.over.tasks
        pair = (printed.points(row, task), printed.points(other, task))
    return None if pair[0] is None or pair[1] is None else pair[0] - pair[1]


def _measured(
    measure: Measure, mine: Float64[np.ndarray, "*n"], theirs: Float64[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n"]:
    return np.asarray(100 * mine / theirs if measure == "normalised" else mine - theirs)
