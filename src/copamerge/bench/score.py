"""Answers to points: pure, without a model and without torch."""

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from copamerge.bench.metrics import METRICS, MODES, Mode
from copamerge.bench.statistics import mean_standard_error, standard_error
from copamerge.errors import SuiteError
from copamerge.suites import Sample, Task

Group = Literal["seen", "unseen"]


@dataclass(frozen=True, eq=False)
class Score:
    """What the answers to one task are worth, in one mode."""

    task: Task
    mode: Mode
    statistics: Float64[np.ndarray, "items k"]
    """The metric's numbers of each item: `METRICS[task.metric].combine` makes points of their
    mean, over all items or over a resample."""
    points: float
    stderr: float | None
    """None for a single item: nothing says how much items vary."""
    unreadable: int

    @property
    def items(self) -> int:
        return len(self.statistics)


def score(
    task: Task, samples: Sequence[Sample], ids: Sequence[str], texts: Sequence[str]
) -> dict[Mode, Score]:
    """Both modes' scores of answers to samples.

    Raises:
        SuiteError: the answers are not to these samples.
        CopamergeError: the metric cannot use the references.
    """
    if len(ids) != len(texts):
        raise SuiteError(f"task {task.name!r}: {len(texts)} answers with {len(ids)} ids")
    if len(ids) != len(samples) or any(a.id != b for a, b in zip(samples, ids, strict=True)):
        known = {sample.id for sample in samples}
        other = next((id for id in ids if id not in known), None)
        fact = (
            f"an answer is to {other!r}, which is not among them"
            if other is not None
            else f"{len(ids)} answers to {len(samples)} samples, or in another order"
        )
        raise SuiteError(
            f"task {task.name!r}: answers of another run: {fact}; answer these samples first"
        )
    metric = METRICS[task.metric]
    references = [sample.references for sample in samples]
    scores: dict[Mode, Score] = {}
    for mode in MODES:
        statistics = metric.statistics(texts, references, mode)
        same = next((x for x in scores.values() if np.array_equal(x.statistics, statistics)), None)
        stderr = None
        if same is not None:
            stderr = same.stderr
        elif len(samples) > 1:
            stderr = standard_error(statistics, metric.combine)
        scores[mode] = Score(
            task=task,
            mode=mode,
            statistics=statistics,
            points=float(metric.combine(statistics.mean(axis=0))),
            stderr=stderr,
            unreadable=int(metric.unreadable(texts, references, mode).sum()),
        )
    return scores


def row(
    model: str,
    task: Task,
    mode: Mode,
    items: int,
    scored: Mapping[Mode, Score] | None,
    reason: str | None = None,
) -> dict[str, Any]:
    """One row of results.json; what was not answered has null points and a reason."""
    assert scored or reason, (model, task.name)
    one = scored[mode] if scored else None
    return {
        "model": model,
        "task": task.name,
        "seen": task.seen,
        "metric": task.metric,
        "mode": mode,
        "items": one.items if one else items,
        "points": one.points if one else None,
        "stderr": one.stderr if one else None,
        "unreadable": one.unreadable if one else None,
        "reason": None if one else reason,
    }


def means(model: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean of a model over seen and over unseen tasks; null unless all of them have points."""
    found: list[dict[str, Any]] = []
    groups: tuple[tuple[Group, bool], ...] = (("seen", True), ("unseen", False))
    for group, seen in groups:
        for mode in MODES:
            mine = [
                x for x in rows if x["model"] == model and x["seen"] == seen and x["mode"] == mode
            ]
            if not mine:
                continue
            whole = all(x["points"] is not None for x in mine)
            sure = whole and all(x["stderr"] is not None for x in mine)
            found.append(
                {
                    "model": model,
                    "group": group,
                    "mode": mode,
                    "points": float(np.mean([x["points"] for x in mine])) if whole else None,
                    "stderr": mean_standard_error([x["stderr"] for x in mine]) if sure else None,
                }
            )
    return found


def save_scores(folder: Path, task: str, scores: Mapping[Mode, Score]) -> Path:
    """`<folder>/<task>.npz` with one array per mode."""
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    arrays: dict[str, Any] = {mode: scores[mode].statistics for mode in MODES}
    np.savez_compressed(content, **arrays)
    path = folder / f"{task}.npz"
    handle, temporary = tempfile.mkstemp(prefix=f".{task}.", dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(content.getvalue())
    Path(temporary).replace(path)
    return path
