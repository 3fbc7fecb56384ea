"""Which differences of a run are differences: paired over items, corrected for their number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from copamerge.bench.metrics import Mode
from copamerge.bench.statistics import LEVEL, Comparison, Paired, mean_difference
from copamerge.errors import SuiteError
from copamerge.reports.run import Group, Run

Word = Literal["better", "worse", "no difference shown"]
Progress = Callable[[int, int], None]

NOTE = (
    "Paired bootstrap over items within each task (95 % interval) and a randomisation test; p is "
    "corrected for the number of rows of the column (Holm, 1979), and a row is called better or "
    "worse only if the interval leaves out 0 and corrected p is at most 0.05. Anything else is 'no "
    "difference shown', which is not 'shown to be equal'. What varies is the items: adapters, "
    "training seed and tasks are taken as given."
)
BEST_NOTE = (
    "The best merge was found on the same items, so its lead over the others is flattered a little."
)


@dataclass(frozen=True)
class Verdict:
    """One model against another, on the mean over a group of tasks, or on one task."""

    model: str
    against: str
    group: str
    """The key of one of the run's `sets`."""
    comparison: Comparison
    corrected: float
    """p after Holm's correction for the family it was made in, at most 1."""

    @property
    def word(self) -> Word:
        c = self.comparison
        if c.verdict != "difference" or self.corrected > LEVEL:
            return "no difference shown"
        return "better" if c.difference > 0 else "worse"

    @property
    def text(self) -> str:
        """`better by 3.1 [1.2, 4.9]`, or that no difference was shown, with the interval."""
        c = self.comparison
        interval = f"[{c.low:+.1f}, {c.high:+.1f}]"
        if self.word == "no difference shown":
            return f"no difference shown ({c.difference:+.1f} {interval})"
        # The sign is in the word, so it goes from the numbers too.
        low, high = (c.low, c.high) if c.difference > 0 else (-c.high, -c.low)
        return f"{self.word} by {abs(c.difference):.1f} [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True)
class Verdicts:
    """Every model of a run against one of them."""

    against: str
    found: tuple[Verdict, ...]

    def of(self, model: str, group: str) -> Verdict | None:
        """None where the two were not asked the same tasks, or it is the one compared with."""
        return next((v for v in self.found if v.model == model and v.group == group), None)


def against(
    run: Run,
    baseline: str,
    models: Sequence[str],
    *,
    mode: Mode = "official",
    resamples: int = 2000,
    done: Callable[[], None] = lambda: None,
) -> Verdicts:
    """Each of `models` against `baseline`, on each of the run's `sets` of tasks; Holm's correction
    is over the models, within a set. A set with a task that `unjudged` names is left out.
    """
    found: list[Verdict] = []
    for over in run.sets:
        made = []
        for model in models:
            tasks = run.scored(model, over.tasks)
            alike = tasks and tasks == run.scored(baseline, over.tasks)
            if model != baseline and alike and all(map(run.sampled, tasks)):
                made.append((model, _compared(run, model, baseline, tasks, mode, resamples)))
            done()
        corrected = holm([comparison.p_value for _, comparison in made])
        found += [
            Verdict(model, baseline, over.key, comparison, p)
            for (model, comparison), p in zip(made, corrected, strict=True)
        ]
    return Verdicts(baseline, tuple(found))


def unjudged(run: Run) -> tuple[str, ...]:
    """Tasks whose differences cannot be judged: of a single item, or by an unknown metric."""
    return tuple(column.task for column in run.columns if not run.sampled(column.task))


def _compared(
    run: Run, model: str, baseline: str, tasks: Sequence[str], mode: Mode, resamples: int
) -> Comparison:
    pairs = [
        Paired(
            run.statistics(model, task, mode),
            run.statistics(baseline, task, mode),
            run.combine(task),
        )
        for task in tasks
    ]
    for task, pair in zip(tasks, pairs, strict=True):
        if pair.a.shape != pair.b.shape:
            raise SuiteError(
                f"{run.path}: {model} and {baseline} were asked {len(pair.a)} and {len(pair.b)} "
                f"items of {task}; they cannot be compared"
            )
    return mean_difference(pairs, resamples=resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the order given (Holm 1979, step-down)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def best(run: Run, models: Sequence[str], group: Group = "seen") -> str | None:
    """The model with the highest mean, of those that were asked all tasks of the group."""
    whole = run.asked(group) if run.record.averaged else ()
    means = {
        model: mean.points
        for model in models
        if run.tasks_of(model, group) == whole and (mean := run.mean(model, group)) is not None
    }
    return max(means, key=means.__getitem__) if means else None
