"""What keeps a task from being scored or asked, found before any model is made."""

import re
from collections.abc import Sequence
from pathlib import Path

from copamerge.bench.metrics import METRICS
from copamerge.errors import CopamergeError, SuiteError, did_you_mean, first_few
from copamerge.suites import Sample, Split, Suite, Task

_ITEM = re.compile(r", item (\d+):")
"""How metrics name an item, by its position."""


def unusable(task: Task, split: Split, items: int | None) -> list[str]:
    """What is wrong with a task's metric, its data, or the two together.

    Tasks that are made by code are taken at their word.
    """
    if task.metric not in METRICS:
        hint = did_you_mean(task.metric, METRICS)
        return [f"task {task.name!r}: metric {task.metric!r}: there is none of that name{hint}"]
    try:
        count = task.count(split, items)
        return [] if task.size is None else _unscorable(task, task.samples(split, count))
    except CopamergeError as error:
        return list(error.problems)


def _unscorable(task: Task, samples: Sequence[Sample]) -> list[str]:
    """The samples whose right answers the task's metric cannot use, by their ids."""
    references = [sample.references for sample in samples]
    try:
        METRICS[task.metric].check(references, [sample.place for sample in samples])
    except CopamergeError as error:
        return [f"task {task.name!r}: {_by_id(problem, samples)}" for problem in error.problems]
    return []


def _by_id(problem: str, samples: Sequence[Sample]) -> str:
    return _ITEM.sub(lambda found: f", sample {samples[int(found[1])].id!r}:", problem)


def check_kind(base: Path, suite: Suite) -> None:
    """Refuse a base that cannot answer what this suite asks for, before anything is merged.

    Raises:
        SuiteError: a CLIP model for texts, or another one for labels.
    """
    from copamerge.bench.loading import CLIP, kind_of

    if suite.answers == "labels":
        from copamerge.bench.clip import check_clip

        check_clip(base)
    elif kind_of(base) == CLIP:
        raise SuiteError(
            f"{base}: a CLIP model chooses among labels, and the suite {suite.name!r} asks for "
            "texts; give an image-text or language model by --base"
        )


def check_eyes(base: Path, tasks: Sequence[Task], split: Split, items: int | None) -> None:
    """Refuse pictures for a base that reads text only, before anything is asked.

    Raises:
        SuiteError: names the tasks; or the base cannot be read.
        CopamergeError: transformers is not installed.
    """
    pictured = [task.name for task in tasks if _has_pictures(task, split, items)]
    if not pictured:
        return
    from copamerge.bench.models import sees

    if not sees(base):
        problems = [
            f"task {name!r}: has pictures, but the base {base} reads text only; give an "
            "image-text base, or leave the task out by --tasks"
            for name in pictured
        ]
        raise SuiteError(first_few(problems, f"base {base}", "more tasks with pictures"))


def _has_pictures(task: Task, split: Split, items: int | None) -> bool:
    """Of a task made by code only the first sample is made for this: all are alike."""
    count = 1 if task.size is None else task.count(split, items)
    return any(sample.images for sample in task.samples(split, count))
