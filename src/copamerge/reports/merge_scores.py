"""What runs of the benchmark found of one merged adapter, for its model card."""

import re
from collections.abc import Sequence
from pathlib import Path

from copamerge.bench.metrics import METRICS
from copamerge.bench.units import adapter_digest
from copamerge.errors import CopamergeError, SuiteError, first_few
from copamerge.merging.card.scores import GroupMean, Scores, SuiteScores, TaskScore
from copamerge.reports.run import Column, Group, Run, open_runs

MULTIMODAL = ("mini", "mm-mergebench", "mm-general")
"""Suites whose tasks are pictures with a question."""
NOTES = {
    "mini": "This suite is made by code: its tasks are small models of published ones, and points "
    "on them say nothing of those."
}
NAMED = 6
"""Models that an error names."""


def merge_scores(folder: Path, runs: Sequence[Path]) -> Scores:
    """The points of the adapter in `folder`, found in each run by the digest of its files.

    Raises:
        CopamergeError: no adapter there, runs that cannot be read, that did not ask this adapter,
            or that asked it the same; all of it.
    """
    problems: list[str] = []
    digest, opened = "", tuple[Run, ...]()
    try:
        digest = adapter_digest(folder)
    except CopamergeError as error:
        problems += error.problems
    try:
        opened = open_runs(runs)
    except CopamergeError as error:
        problems += error.problems
    if problems:
        raise SuiteError(problems)
    found, seen = [], dict[tuple[str, str, str], Path]()
    for run in opened:
        model = next((m.name for m in run.models if m.digest == digest), None)
        if model is None:
            problems.append(_not_asked(folder, run))
            continue
        one = _scores(run, model)
        found.append(one)
        for task in one.tasks:
            key = (one.suite, one.split, task.task)
            if key in seen:
                problems.append(
                    f"{run.path}: asked {task.task!r} of {one.suite} ({one.split}) as "
                    f"{seen[key]} did; give one of them"
                )
            seen.setdefault(key, run.path)
    if problems:
        raise SuiteError(first_few(problems, str(folder), "more problems with these runs"))
    # A model's name in the index is a repository's on the Hub.
    name = re.sub(r"[^\w.-]+", "-", folder.resolve().name).strip("-.") or "merged"
    return Scores(name, tuple(found))


def _not_asked(folder: Path, run: Run) -> str:
    names = [model.name for model in run.models]
    asked = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" * (len(names) > NAMED))
    failed = next((m for m in run.models if m.failed and _same_place(folder, run, m.adapter)), None)
    if failed is not None:
        return f"{run.path}: could not ask this merge: {failed.failed}"
    changed = next((m.name for m in run.models if _same_place(folder, run, m.adapter)), None)
    hint = (
        f"; {changed} lay here, but was changed since (weights or adapter_config.json)"
        if changed
        else ""
    )
    return (
        f"{run.path}: did not ask this merge{hint}; it asked {asked}: ask it by "
        f"copamerge evaluate --adapter {folder} -o RUN"
    )


def _same_place(folder: Path, run: Run, adapter: object) -> bool:
    return isinstance(adapter, str) and (run.path / adapter).resolve() == folder.resolve()


def _scores(run: Run, model: str) -> SuiteScores:
    record = run.record
    kinds = ("copamerge", "transformers", "peft", "torch")
    known = {name: record.versions.get(name) for name in kinds}
    return SuiteScores(
        suite=record.suite,
        split=record.split,
        seed=record.seed,
        items=record.items,
        base=record.base,
        base_digest=record.base_digest,
        asked=record.created,
        versions=", ".join(f"{name} {x}" for name, x in known.items() if x is not None),
        tasks=tuple(
            _task(run, model, column)
            for column in run.columns
            if run.row(model, column.task, "official") is not None
        ),
        means=tuple(_mean(run, model, group) for group in run.groups if _asked(run, model, group)),
        note=NOTES.get(record.suite),
    )


def _task(run: Run, model: str, column: Column) -> TaskScore:
    row = run.rows[model, column.task, "official"]
    metric = METRICS.get(column.metric)
    kind = "image-text-to-text" if run.record.suite in MULTIMODAL else None
    odd = [(row.unasked, "could not be asked and count"), (row.unreadable, "unreadable, counted")]
    if row.points is None:
        remark = row.reason or "no reason is recorded"
    else:
        remark = "; ".join(
            f"{count} of {row.answers} {what} as wrong" for count, what in odd if count
        )
    return TaskScore(
        task=column.task,
        # Those of mini are titles of the tasks that they are models of.
        title=column.task if run.record.suite == "mini" else column.title,
        seen=column.seen,
        metric=column.metric,
        task_type="image-classification" if column.metric == "top1" else kind,
        points=row.points,
        stderr=row.stderr,
        items=row.items,
        highest=None if metric is None else metric.highest,
        remark=remark or None,
    )


def _asked(run: Run, model: str, group: Group) -> tuple[str, ...]:
    """The tasks of a group that this model has rows for."""
    return tuple(t for t in run.asked(group) if run.row(model, t, "official") is not None)


def _mean(run: Run, model: str, group: Group) -> GroupMean:
    """Over all tasks that it was asked; a mean without some of them would be of other tasks."""
    asked, scored = _asked(run, model, group), run.tasks_of(model, group)
    mean = run.mean(model, group)
    if mean is None or len(scored) < len(asked):
        return GroupMean(group, None, None, f"{len(scored)} of {len(asked)} tasks have points")
    return GroupMean(group, mean.points, mean.stderr, f"{len(asked)} tasks")
