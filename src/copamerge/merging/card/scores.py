"""Points of a merge in a card: the Hub's model-index, and tables that say what is missing."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from copamerge.merging.card.escape import code, text


class TaskScore(NamedTuple):
    """Points on one task; None, with a reason, where there are none."""

    task: str
    title: str
    """The task as tables call it."""
    seen: bool
    """Whether one of the sources was trained on it."""
    metric: str
    task_type: str | None
    """The Hub's word for the task; None: the card's own."""
    points: float | None
    stderr: float | None
    items: int | None
    """What was judged."""
    highest: float | None
    """Points of a perfect score; None where it is not known."""
    remark: str | None = None
    """Why there are no points, or what is odd about them."""


class GroupMean(NamedTuple):
    """The mean over the seen or the unseen tasks."""

    group: str
    points: float | None
    """None unless every task of the group has points."""
    stderr: float | None
    remark: str | None = None


class SuiteScores(NamedTuple):
    """What one run found of this merge."""

    suite: str
    split: str
    seed: int
    items: int | None
    """Asked of each task; None: all it has."""
    base: str | None
    base_digest: str | None
    asked: str | None
    """When, in ISO 8601."""
    versions: str
    tasks: tuple[TaskScore, ...]
    means: tuple[GroupMean, ...]
    note: str | None = None
    """What one should know of the suite."""


class Scores(NamedTuple):
    """What is known of how well a merge does."""

    model: str
    """Its name in the model-index."""
    suites: tuple[SuiteScores, ...]


def model_index(scores: Scores, task_type: str | None) -> list[dict[str, Any]]:
    """The Hub's form; a task without points is not in it. Empty where no task has any."""
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    results = [
        EvalResult(
            task_type=task.task_type or task_type or "other",
            dataset_type=one.suite,
            dataset_name=f"{one.suite}/{task.task}",
            dataset_config=task.task,
            dataset_split=one.split,
            dataset_args=_some(items=one.items, seed=one.seed),
            metric_type=task.metric,
            metric_value=round(task.points, 4),
            metric_args=_some(items=task.items, stderr=task.stderr, highest=task.highest),
            verified=False,
        )
        for one in scores.suites
        for task in one.tasks
        if task.points is not None
    ]
    index: list[dict[str, Any]] = eval_results_to_model_index(scores.model, results)
    return index if results else []


def _some(**values: float | None) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items() if value is not None}


def score_lines(scores: Scores) -> list[str]:
    """A table for each run."""
    lines = []
    for one in scores.suites:
        lines += [f"### {text(one.suite)}, {text(one.split)} split", "", *_about(one), ""]
        lines += [
            "| task | metric | points | standard error | out of | items | |",
            "|:--|:--|--:|--:|--:|--:|:--|",
        ]
        for group, seen in (("seen", True), ("unseen", False)):
            mine = [task for task in one.tasks if task.seen == seen]
            lines += [_task_line(task, group) for task in mine]
            lines += [_mean_line(mean) for mean in one.means if mean.group == group and mine]
        lines.append("")
    return lines


def _about(one: SuiteScores) -> Iterable[str]:
    asked = "all items of each task" if one.items is None else f"{one.items} items a task"
    base = f"on the base {code(_last(one.base))}" if one.base else "on a base that has no name"
    if one.base_digest:
        base += f" (digest {code(one.base_digest[:16])})"
    when = f", {text(one.asked)}" if one.asked else ""
    note = f" {text(one.note)}" if one.note else ""
    yield (
        f"{asked[0].upper()}{asked[1:]}, seed {one.seed}, asked {base}{when}, with "
        f"{text(one.versions)}.{note} *Seen*: one of the sources was trained on the task. "
        "Measured by copamerge, not verified by the Hub."
    )


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def _task_line(task: TaskScore, group: str) -> str:
    remark = "; ".join(filter(None, (group, task.remark)))
    top = "-" if task.highest is None else f"{round(task.highest, 1):g}"
    items = "-" if task.items is None else str(task.items)
    points = _points(task.points, task.stderr)
    return _row([text(task.title), code(task.metric), *points, top, items, text(remark)])


def _mean_line(mean: GroupMean) -> str:
    points, stderr = _points(mean.points, mean.stderr)
    bold = points if mean.points is None else f"**{points}**"
    return _row([f"**mean, {mean.group}**", "", bold, stderr, "", "", text(mean.remark or "")])


def _points(points: float | None, stderr: float | None) -> tuple[str, str]:
    return (
        "-" if points is None else f"{points:.2f}",
        "-" if stderr is None else f"{stderr:.2f}",
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
