"""Answers to points: pure, without a model and without torch."""

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from copamerge.bench.metrics import METRICS, MODES, Metric, Mode
from copamerge.bench.statistics import mean_standard_error, standard_error
from copamerge.errors import SuiteError
from copamerge.suites import Place, Sample, Task

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
    answers: int = 0
    """How many answers were judged; more than `items` where several are judged together."""
    empty: int = 0
    """Answers without a character, which some official rules count as right."""
    unasked: int = 0
    """Samples that could not be asked (a picture that does not open): counted as wrong."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The numbers that the points are made of, and others that belong beside them."""
    categories: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Category -> its items and their points, where samples have one."""

    @property
    def items(self) -> int:
        """What was judged: answers, or groups of them."""
        return len(self.statistics)


def score(
    task: Task, samples: Sequence[Sample], ids: Sequence[str], texts: Sequence[str | None]
) -> dict[Mode, Score]:
    """Both modes' scores of answers to samples; None is a sample that could not be asked: wrong.

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
    places = [sample.place for sample in samples]
    unasked = sum(text is None for text in texts)
    given = [
        metric.wrong(truth) if text is None else text
        for text, truth in zip(texts, references, strict=True)
    ]
    empty = sum(text == "" for text in texts)
    scores: dict[Mode, Score] = {}
    for mode in MODES:
        statistics = metric.statistics(given, references, mode, places)
        same = next((x for x in scores.values() if np.array_equal(x.statistics, statistics)), None)
        stderr = None
        if same is not None:
            stderr = same.stderr
        elif len(statistics) > 1:
            stderr = standard_error(statistics, metric.combine)
        scores[mode] = Score(
            task=task,
            mode=mode,
            statistics=statistics,
            points=float(metric.combine(statistics.mean(axis=0))),
            stderr=stderr,
            unreadable=int(metric.unreadable(given, references, mode).sum()),
            answers=len(samples),
            empty=empty,
            unasked=unasked,
            parts=metric.parts(statistics.mean(axis=0)),
            categories=_categories(metric, statistics, places),
        )
    return scores


def _categories(
    metric: Metric, statistics: Float64[np.ndarray, "items k"], places: Sequence[Place]
) -> dict[str, tuple[int, float]]:
    """The points of each category's items; none where items are not single answers."""
    names = [place.category for place in places]
    if len(statistics) != len(names) or not any(names):
        return {}
    found = {}
    for name in dict.fromkeys(name for name in names if name is not None):
        mine = statistics[[i for i, each in enumerate(names) if each == name]]
        found[name] = (len(mine), float(metric.combine(mine.mean(axis=0))))
    return found


def row(
    model: str,
    task: Task,
    mode: Mode,
    items: int | None,
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
        "answers": one.answers if one else None,
        "empty": one.empty if one else None,
        "unasked": one.unasked if one else None,
        "parts": dict(one.parts) if one else {},
        "categories": {
            name: {"items": count, "points": points}
            for name, (count, points) in (one.categories if one else {}).items()
        },
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
